package restore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// serverLog reads the lines that a server adds to its log.
type serverLog struct {
	file *os.File
	in   *bufio.Reader
	rest string // of a line not yet ended
}

// openLog opens the log, made if need be, behind what is in it already.
func openLog(path string) (*serverLog, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open server log: %w", err)
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("open server log: %w", err), f.Close())
	}
	return &serverLog{file: f, in: bufio.NewReader(f)}, nil
}

// lines returns the lines that were ended since the last call.
func (l *serverLog) lines() ([]string, error) {
	var list []string
	for {
		s, err := l.in.ReadString('\n')
		l.rest += s
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, fmt.Errorf("read server log: %w", err)
		}
		list = append(list, strings.TrimSuffix(l.rest, "\n"))
		l.rest = ""
	}
}

func (l *serverLog) close() { _ = l.file.Close() }

// watch knows from a server's log how far its recovery is.
type watch struct {
	server  *Server
	plan    *Plan
	options RecoverOptions
	started time.Time
	log     *serverLog

	phase    Phase
	lsn      wal.LSN   // replayed to about here
	redo     time.Time // when replay began
	stopped  time.Time // when the stop was reached
	ready    bool      // accepts connections, or paused at the stop
	shutDown bool
	fatal    []string // the last FATAL or PANIC and what belongs to it
	fetch    string   // what pgark wal fetch said last of a file that it did not get
	last     []string // the last lines
}

const lastLines = 5

// read takes in what the server logged since the last call.
func (w *watch) read() error {
	lines, err := w.log.lines()
	if err != nil {
		return err
	}
	for _, line := range lines {
		w.line(line)
	}
	return nil
}

// line takes in one line. The words are those of lc_messages = C in
// PostgreSQL 14 to 18.
func (w *watch) line(line string) {
	if w.last = append(w.last, line); len(w.last) > lastLines {
		w.last = w.last[1:]
	}
	if said, ok := strings.CutPrefix(line, "error: fetch "); ok {
		w.fetch = said
		return
	}
	level, text := cutLevel(line)
	switch level {
	case "FATAL", "PANIC":
		w.fatal = []string{text}
		if w.fetch != "" && strings.HasPrefix(text, "could not restore file ") {
			w.fatal = append(w.fatal, w.fetch)
		}
		return
	case "DETAIL", "HINT":
		if len(w.fatal) > 0 {
			w.fatal = append(w.fatal, text)
		}
		return
	case "LOG":
	default:
		return
	}
	switch {
	case strings.HasPrefix(text, "redo starts at "):
		w.phase, w.redo = PhaseReplaying, time.Now()
		w.at(strings.TrimPrefix(text, "redo starts at "))
	case strings.HasPrefix(text, "redo in progress"):
		if _, at, ok := strings.Cut(text, "current LSN: "); ok {
			w.at(at)
		}
	case strings.HasPrefix(text, "restored log file "):
		w.restored(text)
	case strings.HasPrefix(text, "recovery stopping "):
		w.phase, w.stopped = PhaseOpening, time.Now()
	case strings.HasPrefix(text, "shutdown at recovery target"):
		w.shutDown = true
	case strings.HasPrefix(text, "pausing at the end of recovery"):
		w.ready = w.options.Action == ActionPause
	case strings.HasPrefix(text, "database system is ready to accept connections"):
		w.ready = true
	}
}

// cutLevel returns the level of a line and its text.
func cutLevel(line string) (level, text string) {
	for _, level := range []string{"LOG", "FATAL", "PANIC", "DETAIL", "HINT"} {
		if _, text, ok := strings.Cut(line, level+":  "); ok {
			return level, text
		}
	}
	return "", ""
}

// at notes an LSN that the server named.
func (w *watch) at(text string) {
	text, _, _ = strings.Cut(text, " ")
	if lsn, err := wal.ParseLSN(strings.TrimSpace(text)); err == nil {
		w.lsn = max(w.lsn, lsn)
	}
}

// restored notes a WAL file: replay is at its start.
func (w *watch) restored(text string) {
	name, _, _ := strings.Cut(strings.TrimPrefix(text, `restored log file "`), `"`)
	if w.phase != PhaseReplaying {
		return // it looks for the checkpoint
	}
	if id, err := w.plan.Backup.SegmentSize.ParseFileName(name); err == nil {
		w.lsn = max(w.lsn, w.plan.Backup.SegmentSize.Start(id.Number))
	}
}

// measured returns how long it took from the server's start to the stop, and from there to now.
func (w *watch) measured() (replay, open time.Duration) {
	if w.stopped.IsZero() { // a log that does not tell
		return time.Since(w.started), 0
	}
	return w.stopped.Sub(w.started), time.Since(w.stopped)
}

// words returns what the server said of its end.
func (w *watch) words() string {
	if len(w.fatal) > 0 {
		return strings.Join(w.fatal, "; ")
	}
	if len(w.last) == 0 {
		return "it said nothing"
	}
	return strings.Join(w.last, " | ")
}

// end says that the server gave up.
func (w *watch) end() *ServerError {
	e := &ServerError{Words: w.words(), Log: w.server.Log}
	// strerror in the server's words, syscall.Errno in those of pgark wal fetch
	if strings.Contains(strings.ToLower(e.Words), "no space left on device") {
		e.Err = syscall.ENOSPC
	}
	if w.server.Confined && strings.Contains(e.Words, "pg_tblspc/") &&
		(strings.Contains(e.Words, "Permission denied") || strings.Contains(e.Words, "File exists")) { // of making a file where one is (mdcreate, md.c)
		e.Words += lateTablespace
	}
	return e
}

// lateTablespace explains what stops a server that is held within its folder. Replay makes a tablespace that the base backup lacks where its first server had it,
// and takes over what lies there: the files of that server, where it still runs on this host (create_tablespace_directories, src/backend/commands/tablespace.c).
const lateTablespace = "; a tablespace was made after the base backup, and this server may not touch the folder that it lay in: take a base backup, after which it gets one of its own"

// report calls Progress.
func (w *watch) report() {
	if w.options.Progress == nil {
		return
	}
	p := Progress{Phase: w.phase, LSN: w.lsn, Start: w.plan.Backup.StartLSN, Stop: w.plan.Until, Elapsed: time.Since(w.started)}
	if p.Phase == "" {
		p.Phase = PhaseStarting
	}
	done, all := wal.Range{Start: p.Start, End: p.LSN}.Len(), wal.Range{Start: p.Start, End: p.Stop}.Len()
	if took := time.Since(w.redo); p.Phase == PhaseReplaying && done > 0 && done < all && took > time.Second {
		p.Left = time.Duration(float64(took) * float64(all-done) / float64(done))
	}
	w.options.Progress(p)
}

// shutdownProof reads from pg_control what the server that has ended left.
func (w *watch) shutdownProof() (*Recovered, error) {
	b, err := os.ReadFile(filepath.Join(w.server.DataDir, controlFile))
	if err != nil {
		return nil, fmt.Errorf("prove stop: %w", err)
	}
	c, err := postgres.ParseControl(b)
	if err != nil {
		return nil, fmt.Errorf("prove stop: %w", err)
	}
	if c.State != postgres.StateShutDownInRecovery {
		return nil, &ProofError{What: "state of the cluster", Got: c.State.String(), Want: postgres.StateShutDownInRecovery.String()}
	}
	return &Recovered{Timeline: w.plan.Timeline, InRecovery: true, Replayed: c.MinRecovery, LastCommit: w.plan.LastCommit}, nil
}
