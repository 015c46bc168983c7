package drill

import (
	"fmt"
	"strconv"
	"strings"
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

func quote(s string) string { return strconv.Quote(s) }
