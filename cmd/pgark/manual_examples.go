package main

import "strings"

// examplesOf are lines to paste for a command. A test tries that the command and its flags are there.
func examplesOf(words []string) []string {
	examples := map[string][]string{
		"":                {"pgark init --apply --config pgark.yml s3://acme-pg/main", "pgark run --config pgark.yml", "pgark status --config pgark.yml"},
		"init":            {"pgark init --apply --config pgark.yml s3://acme-pg/main", "pgark init --print-sql s3://acme-pg/main | psql -U postgres"},
		"check":           {"pgark check s3://acme-pg/main", "pgark check --only postgres,storage", "pgark check -o nagios", "pgark check --fix --yes --fix-as user=postgres"},
		"run":             {"pgark run --config /etc/pgark/pgark.yml", "pgark run s3://acme-pg/main?region=eu-west-1"},
		"status":          {"pgark status", "pgark status --watch=5s", "pgark status --exit-code --all -o json"},
		"dashboard":       {"pgark dashboard 's3://acme-pg?region=eu-west-1'", "pgark dashboard --config pgark.yml"},
		"list":            {"pgark list", "pgark list --from dr -o json"},
		"log":             {"pgark log --drops --around '2026-11-20 10:31Z'"},
		"restore":         {"pgark restore --to '10m ago' --into /var/lib/postgresql/17/restored --start", "pgark restore --to '2026-11-20 10:31:00+00' --into /var/lib/postgresql/17/restored --dry-run"},
		"drill":           {"pgark drill run --dir /var/lib/pgark/drill", "pgark drill list"},
		"drill run":       {"pgark drill run --to random --dir /var/lib/pgark/drill"},
		"drill list":      {"pgark drill list"},
		"drill show":      {"pgark drill show 20261120T104500Z"},
		"export":          {"pgark export --to '10m ago' --dir /var/lib/pgark/drill"},
		"backup":          {"pgark backup --wait", "pgark backup --keep 1y"},
		"keep":            {"pgark keep pin 20261120T020000Z"},
		"keep pin":        {"pgark keep pin --until 2030-01-01T00:00:00Z 20261120T020000Z"},
		"keep unpin":      {"pgark keep unpin 20261120T020000Z"},
		"prune":           {"pgark prune", "pgark prune --yes"},
		"verify":          {"pgark verify --since 7d", "pgark verify --deep"},
		"repo":            {"pgark repo policy s3://acme-pg/main"},
		"repo policy":     {"pgark repo policy s3://acme-pg/main", "pgark repo policy --lifecycle s3://acme-pg/main"},
		"repo copy":       {"pgark repo copy --to dr"},
		"repo thaw":       {"pgark repo thaw --to '2026-01-20 10:31:00+00' --yes"},
		"repo undelete":   {"pgark repo undelete"},
		"standby":         {"pgark standby status"},
		"standby create":  {"pgark standby create --into /var/lib/postgresql/17/standby --start"},
		"standby follow":  {"pgark standby follow"},
		"standby status":  {"pgark standby status"},
		"standby promote": {"pgark standby promote"},
		"standby fence":   {"pgark standby fence", "pgark standby fence --lift"},
		"wal":             {"pgark wal ls"},
		"wal fetch":       {"restore_command = 'pgark wal fetch %f %p'"},
		"wal ls":          {"pgark wal ls"},
		"wal cat":         {"pgark wal cat 000000010000000000000001 > segment"},
		"config":          {"pgark config validate"},
		"config validate": {"pgark config validate --config pgark.yml"},
		"config show":     {"pgark config show"},
		"config schema":   {"pgark config schema > pgark.schema.json"},
		"config env":      {"pgark config env > pgark.env"},
		"diagnose":        {"pgark diagnose", "pgark diagnose --file ticket-4711.tar.gz"},
		"man":             {"pgark man restore | man -l -", "pgark man --dir /usr/local/share/man/man1"},
		"version":         {"pgark version -o json"},
		"completion":      {"pgark completion bash > /etc/bash_completion.d/pgark"},
	}
	return examples[strings.Join(words, " ")]
}
