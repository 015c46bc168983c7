// Package standby keeps another server following the archive: a Follower watches a repository and serves
// what comes to it as a PostgreSQL server would, to any number of standbys on its host.
package standby
