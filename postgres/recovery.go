package postgres

import (
	"bytes"
	"fmt"
	"strings"
)

// TargetSetting is the setting that names a recovery target.
type TargetSetting string

// The kinds of target. The values are those of PostgreSQL's documentation,
// "Recovery Target".
const (
	TargetNone      TargetSetting = "" // to the end of the archive
	TargetTime      TargetSetting = "recovery_target_time"
	TargetXID       TargetSetting = "recovery_target_xid"
	TargetLSN       TargetSetting = "recovery_target_lsn"
	TargetName      TargetSetting = "recovery_target_name"
	TargetImmediate TargetSetting = "recovery_target" // its value is "immediate"
)

// Setting is one setting of the server.
type Setting struct {
	Name  string
	Value string // without quotes
}

// RecoverySettings is what a restored cluster is told in postgresql.auto.conf.
type RecoverySettings struct {
	// VersionNum is server_version_num of the binaries that will read the
	// file: an unknown setting would keep them from starting.
	VersionNum     int
	RestoreCommand string
	Target         TargetSetting
	TargetValue    string
	Exclusive      bool   // stop just before the target; for time, xid and LSN
	Timeline       string // "latest" if empty; "current" or a number
	Action         string // "promote" if empty; "pause" or "shutdown"
	// PrimaryConninfo is whom a standby streams from; empty: nobody.
	PrimaryConninfo string
	Extra           []Setting // after all others
}

// recoveryNames are the settings that decide about recovery and replication.
// Those of an earlier life of the cluster are removed.
func recoveryNames() []string {
	return []string{
		"restore_command", "archive_cleanup_command", "recovery_end_command",
		"recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
		"recovery_target_lsn", "recovery_target_inclusive", "recovery_target_timeline", "recovery_target_action",
		"recovery_min_apply_delay", "promote_trigger_file",
		"archive_mode", "archive_command", "archive_library",
		"primary_conninfo", "primary_slot_name", "synchronous_standby_names", "synchronized_standby_slots",
	}
}

// RewriteAutoConf returns the postgresql.auto.conf of a restored cluster: old
// without the recovery and replication settings of its earlier life, then
// those of s. Each of them is written, so that none of postgresql.conf counts:
// no other target, no archiving, no primary, no synchronous standbys. Lines
// that it does not know, include directives among them, stay as they are. The
// values are quoted; one with a zero byte or a line break is refused.
func RewriteAutoConf(old []byte, s RecoverySettings) ([]byte, error) {
	settings := s.settings()
	drop := map[string]bool{}
	for _, name := range recoveryNames() {
		drop[name] = true
	}
	for _, set := range settings {
		drop[strings.ToLower(set.Name)] = true
	}
	var b bytes.Buffer
	for line := range bytes.Lines(old) {
		if drop[settingName(line)] {
			continue
		}
		b.Write(line)
		if !bytes.HasSuffix(line, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	for _, set := range settings {
		line, err := set.line()
		if err != nil {
			return nil, fmt.Errorf("rewrite postgresql.auto.conf: %w", err)
		}
		b.WriteString(line)
	}
	return b.Bytes(), nil
}

// settings lists all that is written, in order.
func (s RecoverySettings) settings() []Setting {
	inclusive, timeline, action := "on", s.Timeline, s.Action
	if s.Exclusive {
		inclusive = "off"
	}
	if timeline == "" {
		timeline = "latest"
	}
	if action == "" {
		action = "promote"
	}
	list := []Setting{
		{"restore_command", s.RestoreCommand}, {"archive_cleanup_command", ""}, {"recovery_end_command", ""},
	}
	for _, target := range []TargetSetting{TargetImmediate, TargetName, TargetTime, TargetXID, TargetLSN} {
		if target != s.Target {
			list = append(list, Setting{string(target), ""})
		}
	}
	if s.Target != TargetNone {
		// Last: PostgreSQL takes an empty target after another for a second one and does not start
		// (assign_recovery_target_xid and its like, xlogrecovery.c).
		list = append(list, Setting{string(s.Target), s.TargetValue})
	}
	list = append(list,
		Setting{"recovery_target_inclusive", inclusive}, Setting{"recovery_target_timeline", timeline},
		Setting{"recovery_target_action", action}, Setting{"recovery_min_apply_delay", "0"},
		Setting{"archive_mode", "off"}, Setting{"archive_command", ""}, Setting{"primary_conninfo", s.PrimaryConninfo},
		Setting{"primary_slot_name", ""}, Setting{"synchronous_standby_names", ""},
	)
	if s.VersionNum >= 150000 {
		list = append(list, Setting{"archive_library", ""})
	}
	if s.VersionNum < 160000 {
		list = append(list, Setting{"promote_trigger_file", ""})
	}
	if s.VersionNum >= 170000 {
		list = append(list, Setting{"synchronized_standby_slots", ""})
	}
	return append(list, s.Extra...)
}

// line writes the setting for a configuration file
// (guc-file.l: strings end at the line; two quotes are one, a backslash escapes).
func (s Setting) line() (string, error) {
	if s.Name == "" || strings.Trim(strings.ToLower(s.Name), "abcdefghijklmnopqrstuvwxyz0123456789_.") != "" {
		return "", fmt.Errorf("setting %q: not a name", s.Name)
	}
	if strings.ContainsAny(s.Value, "\x00\r\n") {
		return "", fmt.Errorf("setting %s: value %q has a line break or a zero byte", s.Name, s.Value)
	}
	value := strings.NewReplacer("'", "''", `\`, `\\`).Replace(s.Value)
	return s.Name + " = '" + value + "'\n", nil
}

// settingName returns the name that a line of a configuration file sets, in
// lower case, "" if it sets none.
func settingName(line []byte) string {
	text := strings.TrimLeft(string(line), " \t\r\f\v")
	end := strings.IndexFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.' && r != '$' && r < 0x80
	})
	if end < 0 {
		end = len(text)
	}
	return strings.ToLower(text[:end])
}
