package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/telemetry"
)

// primarySilence is how long a standby waits for a primary that says nothing, before it takes WAL from the archive: a region that is lost says no goodbye. By itself a
// standby waits for a minute.
const primarySilence = 15 * time.Second

func primaryConninfoFlag() cli.Flag {
	return &cli.StringFlag{
		Name:  "primary-conninfo",
		Usage: "stream from the primary while it answers: `CONNINFO` of libpq's keywords, without a password: passfile=FILE names one",
	}
}

func socketDirFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "socket-dir", Usage: "the `FOLDER` of the follower's socket, which primary_conninfo names as host; standby.socket_dir by default", TakesFile: true,
	}
}

func standbyCreateCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name:  "create",
		Usage: "make a standby from the archive alone",
		Description: "The newest base backup is laid down in --into, or standby.dir, and prepared to follow the archive: by a stream from the\n" +
			"follower on this host (pgark run with standby.role follow, or pgark standby follow), and by files where that is away.\n" +
			"A plan is printed and nothing is written before you agree. It does not archive until it is promoted.",
		Flags: append(layFlags(),
			&cli.BoolFlag{Name: "start", Usage: "start the server, and wait until it answers queries; it listens on a socket only"},
			primaryConninfoFlag(), socketDirFlag(),
		),
	}, noArguments, func(s *session) error {
		return (&restoring{session: s, holding: &agent.Holding{}}).createStandby(func(string) (config.Cluster, error) { return s.clusterToFollow() })
	})
}

// createStandby lays the newest base backup of a cluster down as a standby.
func (r *restoring) createStandby(find func(argument string) (config.Cluster, error)) error {
	for _, name := range []string{"to", "to-lsn", "to-xid", "to-name", "to-backup", "before", "timeline", "pause", "shutdown", "verify", asOfName} {
		if r.cli.IsSet(name) {
			return usagef("--%s: a standby goes on to the end of the archive, and follows it", name)
		}
	}
	if err := r.flags(); err != nil {
		return err
	}
	var err error
	if r.configured, err = find(r.argument()); err != nil {
		return err
	}
	if err := r.directory(r.configured.Standby.Dir); err != nil {
		return err
	}
	dir, err := filepath.Abs(r.socketDir(r.configured))
	if err != nil {
		return err
	}
	r.standby = &restore.Standby{}
	primary := r.cli.String("primary-conninfo")
	if r.standby.Conninfo, err = postgres.StandbyConninfo(primary, dir, agent.FollowPort); err != nil {
		return conninfoError(err)
	}
	if primary != "" {
		r.standby.Silence = primarySilence
	}
	return r.from(restore.Target{})
}

// conninfoError says what is wrong with --primary-conninfo, without showing it.
func conninfoError(err error) error {
	told := usagef("--primary-conninfo: %w", err)
	if errors.Is(err, postgres.ErrConninfoPassword) {
		told.why = "a password on a command line is seen by all users of the host, and in the server's configuration it goes into every base backup"
		told.fix = "put it into a password file of the server's user, mode 0600, as HOST:PORT:*:USER:PASSWORD: ~/.pgpass, or --primary-conninfo '… passfile=/path'"
	}
	return told
}

// printStandbyPlan says what the standby will do.
func (r *restoring) printStandbyPlan() {
	source := "a follower on socket " + r.socketDir(r.configured)
	if r.cli.IsSet("primary-conninfo") {
		source = "the primary while it answers, else " + source
	}
	r.fields("follows", source, "files by pgark wal fetch where there is none")
	started := "not started: no --start"
	if r.cli.Bool("start") {
		started = r.socketText()
	}
	r.fields("then", "read-only, archiving off", started)
}

// actStandby starts the standby, if that is asked for, and says what to do next.
func (r *restoring) actStandby(laid *restore.Laid) error {
	var server *restore.Server
	if r.cli.Bool("start") {
		r.phases.Enter(telemetry.Replay)
		r.meter.show(progress{phase: "start", text: "the standby replays until it is consistent"})
		var err error
		server, err = restore.StartStandby(r.ctx, r.plan, laid.Dir, restore.RecoverOptions{BinDir: r.binaries.dir, Port: r.cli.Int("port"), Owner: r.owner})
		if err != nil {
			r.meter.end()
			r.noteSubstitutes()
			return r.unstarted(err, laid.Dir)
		}
	}
	r.meter.end()
	if r.json {
		result := map[string]any{
			"directory": laid.Dir, "files": laid.Files, "bytes": laid.Bytes, "seconds": laid.Took.Seconds(),
			"reused_files": laid.ReusedFiles, "reused_bytes": laid.ReusedBytes,
			"notes": listJSON(laid.Notes), "substitutes": r.substitutesJSON(),
		}
		if server != nil {
			result["socket"], result["port"], result["pid"], result["log"] = server.SocketDir, server.Port, server.PID, server.Log
		}
		return r.printJSON(map[string]any{"plan": r.planJSON(), "result": result})
	}
	r.printf("Standby laid down in %s: %s, %s.\n", elapsed(laid.Took), count(int(laid.Files), "file"), size(laid.Bytes))
	r.printReused(laid)
	if server != nil {
		r.fields("running", "socket "+server.SocketDir+", port "+fmt.Sprint(server.Port), "read-only, archiving OFF", "log "+server.Log)
		r.row("look", "%s", r.as("psql", "-h", server.SocketDir, "-p", fmt.Sprint(server.Port), "-d", "postgres"))
		r.row("stop", "%s", r.pgCtl(laid.Dir, "stop"))
	} else {
		r.row("start", "%s", r.pgCtl(laid.Dir, "start"))
		r.wrapped("", "it listens where its postgresql.conf says; or give --start")
	}
	r.row("follow", "%s", r.followCommand())
	r.wrapped("", "keep it running, as the same user: it streams what comes to the archive. pgark run does so too, with standby.role follow in its configuration, and archives this server once it is promoted")
	for _, note := range laid.Notes {
		r.wrapped("note", note)
	}
	r.printSubstitutes(r.substitutes())
	return nil
}

// followCommand serves the standby.
func (r *restoring) followCommand() string {
	words := []string{"pgark", "standby", "follow"}
	for _, flag := range []string{"config", "cluster"} {
		if value := text(r.cli, flag); value != "" {
			words = append(words, "--"+flag, value)
		}
	}
	url := text(r.cli, "repo")
	if r.argument() != "" {
		url = r.argument()
	}
	if url != "" {
		words = append(words, "--repo", url)
	}
	for _, flag := range []string{"from", "system-id", "socket-dir"} {
		if r.cli.IsSet(flag) {
			words = append(words, "--"+flag, r.cli.String(flag))
		}
	}
	return r.as(words...)
}

// unstarted says what is left of a standby whose server did not start.
func (r *restoring) unstarted(err error, dir string) error {
	why := fmt.Sprintf("the files are complete in %s, and no server runs", dir)
	if server := new(restore.ServerError); errors.As(err, &server) {
		why += "\nthe server's log says more, also of pgark wal fetch where that did not get a file: " + server.Log
	}
	return r.unfinished(err, why, "to start it: "+r.pgCtl(dir, "start"))
}
