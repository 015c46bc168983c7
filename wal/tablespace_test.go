package wal_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/pgark/pgark/wal"
)

func TestTablespaceEvents(t *testing.T) {
	long := "/" + strings.Repeat("x", 1022)
	tests := []struct {
		name  string
		info  uint8
		body  []byte
		event *wal.TablespaceCreate // nil and no error: no event
		bad   bool
	}{
		{name: "made", body: data(append(uint32s(16400), "/srv/fast\x00"...)), event: &wal.TablespaceCreate{Tablespace: 16400, Path: "/srv/fast"}},
		{name: "in place", body: data(append(uint32s(16400), 0)), event: &wal.TablespaceCreate{Tablespace: 16400}},
		{name: "longest path", body: data(append(uint32s(16400), long+"\x00"...)), event: &wal.TablespaceCreate{Tablespace: 16400, Path: long}},
		{name: "dropped", info: 0x10, body: data(uint32s(16400))},
		{name: "no OID", body: data([]byte{1, 2, 3}), bad: true},
		{name: "no end", body: data(append(uint32s(16400), "/srv/fast"...)), bad: true},
		{name: "too long", body: data(append(uint32s(16400), long+"yyy\x00"...)), bad: true},
	}
	for _, test := range tests {
		s := newStream(testSize.Start(1))
		s.commit(700, 1)
		start, end := s.record(5, test.info, 9, test.body)
		for _, step := range []int{1, len(s.bytes)} {
			records, _, err := decode(t, s.start, s.bytes, step, wal.TablespaceEvents, wal.EventsOnly)
			var want []any
			if test.event != nil {
				e := *test.event
				e.Start, e.End = start, end
				want = append(want, &e)
			}
			var got []any
			for _, r := range records {
				got = append(got, r.Event)
			}
			if (err != nil) != test.bad || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v, %v; want %+v, an error %t", test.name, got, err, want, test.bad)
			}
		}
		// Nobody pays for them who did not ask.
		for _, o := range []wal.Option{0, wal.StorageEvents} {
			if records, _, err := decode(t, s.start, s.bytes, len(s.bytes), o); err != nil || len(records) != 2 || records[1].Event != nil {
				t.Errorf("%s, not asked for: %+v, %v", test.name, records, err)
			}
		}
	}
}
