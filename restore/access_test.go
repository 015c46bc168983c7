package restore

import (
	"slices"
	"testing"

	"github.com/pgark/pgark/postgres"
)

// TestWhoIsTried: the superuser of initdb comes first, whatever it is called; row versions that are out of date cost a try and nothing more.
func TestWhoIsTried(t *testing.T) {
	dba := postgres.Role{OID: 10, Name: "dba", Super: true, Login: true}
	second := postgres.Role{OID: 16384, Name: "second", Super: true, Login: true}
	plain := postgres.Role{OID: 16385, Name: "postgres", Login: true}
	for name, tt := range map[string]struct {
		roles []postgres.Role
		want  []string
	}{
		"no file":                  {nil, []string{"postgres", "pg"}},
		"postgres is a plain role": {[]postgres.Role{plain, second, dba}, []string{"dba", "second", "postgres", "pg"}},
		"renamed":                  {[]postgres.Role{{OID: 10, Name: "old", Super: true, Login: true}, dba}, []string{"old", "dba", "postgres", "pg"}},
		"may not log in": {
			[]postgres.Role{{OID: 10, Name: "dba", Super: true}, {OID: 3373, Name: "pg_monitor"}, plain}, []string{"postgres", "pg"},
		},
		"twice, and none": {[]postgres.Role{dba, dba, {Login: true}}, []string{"dba", "postgres", "pg"}},
	} {
		if got := usersToTry(tt.roles, "pg"); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	many := make([]postgres.Role, 1000)
	for i := range many {
		many[i] = postgres.Role{OID: uint32(20000 + i), Name: string(rune('一' + i)), Login: true}
	}
	if got := usersToTry(append(many, dba), "pg"); len(got) != mostNames+2 || got[0] != "dba" {
		t.Errorf("of 1001 roles got %d, %q first", len(got), got[0])
	}
	if got, want := databasesToTry([]string{"template0", "postgres", "shop", ""}), []string{"postgres", "template1", "template0", "shop"}; !slices.Equal(got, want) {
		t.Errorf("databases: got %q, want %q", got, want)
	}
}
