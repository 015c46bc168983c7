package standby_test

import (
	"errors"
	"testing"

	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/wal"
)

func TestFindReach(t *testing.T) {
	one := wal.History{Timeline: 1}
	two := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 500}}}
	span := func(from, to wal.LSN) wal.Range { return wal.Range{Start: from, End: to} }
	for name, test := range map[string]struct {
		history wal.History
		along   []wal.Range
		tli     wal.TimelineID
		at      wal.LSN
		want    standby.Reach
		foreign wal.LSN // where the archive left it; 1: it does not come from it
	}{
		"nothing archived":          {one, nil, 1, 300, standby.Reach{Timeline: 1, End: 300}, 0},
		"more is there":             {one, []wal.Range{span(0, 400)}, 1, 300, standby.Reach{Timeline: 1, End: 400}, 0},
		"it has more":               {one, []wal.Range{span(0, 200)}, 1, 300, standby.Reach{Timeline: 1, End: 300}, 0},
		"from its very place":       {one, []wal.Range{span(300, 400)}, 1, 300, standby.Reach{Timeline: 1, End: 400}, 0},
		"a hole at its place":       {one, []wal.Range{span(0, 200), span(301, 400)}, 1, 300, standby.Reach{Timeline: 1, End: 300, Beyond: 301, Last: 400}, 0},
		"a hole ahead, and another": {one, []wal.Range{span(0, 320), span(330, 400), span(410, 500)}, 1, 300, standby.Reach{Timeline: 1, End: 320, Beyond: 330, Last: 500}, 0},
		"a hole behind it":          {one, []wal.Range{span(0, 100), span(200, 400)}, 1, 300, standby.Reach{Timeline: 1, End: 400}, 0},
		"another timeline ahead":    {two, []wal.Range{span(0, 700)}, 1, 300, standby.Reach{Timeline: 2, End: 700}, 0},
		"at the switch":             {two, []wal.Range{span(0, 700)}, 1, 500, standby.Reach{Timeline: 2, End: 700}, 0},
		"past the switch":           {two, []wal.Range{span(0, 700)}, 1, 501, standby.Reach{}, 500},
		"of another branch":         {two, nil, 3, 600, standby.Reach{}, 1},
	} {
		got, err := standby.FindReach(test.history, test.along, test.tli, test.at)
		var foreign *standby.ForeignError
		switch isForeign := errors.As(err, &foreign); {
		case isForeign != (test.foreign != 0), got != test.want:
			t.Errorf("%s: got %+v, %v", name, got, err)
		case isForeign && foreign.Switch != test.foreign && (foreign.Switch != 0 || test.foreign != 1):
			t.Errorf("%s: got %v", name, err)
		}
	}
}
