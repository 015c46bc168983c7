package drill

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pgark/pgark/repository"
)

// Check is a query of the user's and what it must answer.
type Check struct {
	Name     string
	Database string // empty: postgres
	Query    string
	// Want is the answer: columns apart by |, rows by a line break, as psql -At prints them.
	Want string
}

// CheckError says what is wrong in a file of checks.
type CheckError struct {
	Line   int
	Reason string
}

// Error names the line.
func (e *CheckError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

const checkHead = "check"

// ParseChecks reads a file of checks. Each begins with a comment that names it, further comments may say in which database it is asked and what it must
// answer, "t" otherwise:
//
//	-- check: orders_recent
//	-- database: shop
//	-- expect: t
//	select max(created_at) > current_setting('pgark.target_time')::timestamptz - interval '1h' from orders;
//
// The error is a *CheckError.
func ParseChecks(text string) ([]Check, error) {
	var list []Check
	var begun int // line of the check's head
	head := false // its comments go on
	names := map[string]bool{}
	whole := func() error {
		if n := len(list); n > 0 && strings.TrimSpace(list[n-1].Query) == "" {
			return &CheckError{begun, "check " + list[n-1].Name + " has no query"}
		}
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		key, value, isHead := headLine(line)
		switch {
		case isHead && key == checkHead:
			if err := whole(); err != nil {
				return nil, err
			}
			if value == "" || names[value] {
				return nil, &CheckError{i + 1, "a check needs a name that no other has"}
			}
			names[value] = true
			list, begun, head = append(list, Check{Name: value, Want: "t"}), i+1, true
		case len(list) == 0:
			if t := strings.TrimSpace(line); t != "" && !strings.HasPrefix(t, "--") {
				return nil, &CheckError{i + 1, "a query before the first \"-- check: NAME\""}
			}
		case isHead && head && key == "database":
			list[len(list)-1].Database = value
		case isHead && head && key == "expect":
			list[len(list)-1].Want = value
		default:
			if t := strings.TrimSpace(line); head && (t == "" || strings.HasPrefix(t, "--")) {
				continue
			}
			head = false
			list[len(list)-1].Query += line + "\n"
		}
	}
	return list, whole()
}

// headLine reads "-- key: value".
func headLine(line string) (key, value string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "--")
	if !ok {
		return "", "", false
	}
	key, value, ok = strings.Cut(rest, ":")
	key = strings.TrimSpace(key)
	return key, strings.TrimSpace(value), ok && (key == checkHead || key == "database" || key == "expect")
}

// answerText is the answer of a query as psql -At prints it.
func answerText(rows [][]string) string {
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = strings.Join(row, "|")
	}
	return strings.Join(lines, "\n")
}

// Amcheck says how many tables are checked, with their indexes.
type Amcheck string

// The scopes; "" is AmcheckOff.
const (
	AmcheckAll    Amcheck = "all"
	AmcheckSample Amcheck = "sample"
	AmcheckOff    Amcheck = "off"
)

// Of the tables of a cluster a sample is one in samplePart, but not fewer than sampleLeast, nor more than the command line of pg_amcheck should hold.
const (
	samplePart  = 10
	sampleLeast = 20
	sampleMost  = 2000
)

// sampled draws tables and materialized views of all databases, each as likely as any other, and returns them as pg_amcheck's --table takes them.
func sampled(names *repository.Names, random *rand.Rand) []string {
	var all []string
	for _, d := range names.Databases {
		for _, r := range d.Relations {
			if d.OID != 0 && (r.Kind == "r" || r.Kind == "m") && r.Filenode != 0 && !strings.ContainsRune(d.Name+r.Schema+r.Name, utf8.RuneError) {
				all = append(all, pattern(d.Name)+"."+pattern(r.Schema)+"."+pattern(r.Name))
			}
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), max(len(all)/samplePart, sampleLeast), sampleMost)]
}

// pattern is a name as a pattern that means it alone ("Patterns" of psql in PostgreSQL's documentation).
func pattern(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quote(s string) string { return strconv.Quote(s) }
