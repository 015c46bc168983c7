package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgark/pgark/agent"
)

// size prints bytes as people do: 98.1 GB.
func size(n int64) string { return humanize.Bytes(uint64(max(0, n))) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return humanize.Comma(int64(n)) + " " + what + "s"
}

// instant prints a time in UTC to the millisecond, without zeros that say nothing.
func instant(t time.Time) string {
	t = t.UTC()
	if t.Nanosecond() < int(time.Millisecond) {
		return t.Format("2006-01-02 15:04:05Z")
	}
	return t.Format("2006-01-02 15:04:05.000Z")
}

// exact prints a time in UTC with PostgreSQL's microseconds.
func exact(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// elapsed prints a duration in at most two units.
func elapsed(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}

// sign is the mark of a finding.
func (s *session) sign(v agent.Verdict) string {
	marks := map[agent.Verdict][3]string{ // Unicode, ASCII, colour
		agent.Good: {"✓", "ok", "32"}, agent.Pending: {"○", "-", "2"}, agent.Warning: {"!", "!", "33"}, agent.Bad: {"✗", "X", "31"},
	}
	m := marks[v]
	if s.unicode {
		return s.paint(m[0], m[2])
	}
	return s.paint(m[1], m[2])
}

// paint colours text where colour is wanted; colour never carries a meaning alone.
func (s *session) paint(text, colour string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// table prints rows in columns; the first row is the heading.
func (s *session) table(rows [][]string) {
	for _, line := range columns(rows) {
		s.printf("%s\n", line)
	}
}

// columns pads cells so that they stand below each other, two spaces apart.
func columns(rows [][]string) []string {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i] = visible(strings.ReplaceAll(row[i], "\n", `\n`)) // a row is one line, whatever a name holds
		}
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visibleWidth(cell))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-visibleWidth(cell)+2))
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines
}
