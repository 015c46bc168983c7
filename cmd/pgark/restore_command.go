package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgark/pgark/config"
)

// restoreCommand is what the restored server runs for each WAL file.
func (r *restoring) restoreCommand() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	words := []string{self, "wal", "fetch"}
	c, err := r.loadWith(r.argument())
	if err != nil {
		return "", err
	}
	cluster, err := c.Select(text(r.cli, "cluster"))
	if err != nil {
		return "", err
	}
	if c.File != "" {
		file, err := filepath.Abs(c.File)
		if err != nil {
			return "", err
		}
		words = append(words, "--config", file, "--cluster", cluster.Name)
	}
	if key := cluster.Repo.Encryption.IdentityFile; key != "" {
		if err := r.readableByOwner(key); err != nil {
			return "", err
		}
		words = append(words, "--identity-file", key)
	}
	o := r.plan.FetchOptions()
	places := r.places()
	words = append(words, "--from", config.Primary, "--repo", places[0].URL)
	for _, one := range places[1:] {
		words = append(words, "--also", one.Name+"="+one.URL)
	}
	if !r.asOf.IsZero() {
		words = append(words, "--"+asOfName, r.asOf.Format(time.RFC3339Nano))
	}
	words = append(words, "--system-id", r.cluster.SystemID().String())
	if r.standby == nil { // which goes on and on
		words = append(words, "--until", o.Until.String(), "--timeline", fmt.Sprint(uint32(o.Timeline)))
	}
	if r.within != "" {
		words = append(words, "--within", r.within)
	}
	for _, folder := range r.replaced {
		words = append(words, "--replaces", folder)
	}
	words = append(words, "--segment-size", fmt.Sprint(uint32(o.SegmentSize)), "--ahead", fmt.Sprint(o.Ahead))
	for i, word := range words {
		// The server replaces % itself; the shell takes the rest as it is within quotes.
		words[i] = quoteWord(strings.ReplaceAll(word, "%", "%%"))
	}
	return strings.Join(append(words, "%f", `"%p"`), " "), nil
}

// readableByOwner returns an error if the restored server, which runs as the owner, could not read a file that the caller, root, can.
func (r *restoring) readableByOwner(path string) error {
	info, err := os.Stat(path)
	if err != nil || r.owner == nil {
		return err
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	if !ok || int(sys.Uid) == r.owner.UID && mode&0o400 != 0 || int(sys.Gid) == r.owner.GID && mode&0o040 != 0 {
		return nil
	}
	return &codeError{
		code: exitWrongKey, cause: fmt.Errorf("the restored server could not read the private key in %s", path),
		why: fmt.Sprintf("its restore_command runs as the owner of the cluster (uid %d)", r.owner.UID),
		fix: fmt.Sprintf("chown %d %s", r.owner.UID, quoteWord(path)),
	}
}

func quoteWord(word string) string {
	plain := strings.IndexFunc(word, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:,", r)
	}) < 0
	if plain {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
