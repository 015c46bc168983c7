// Package commitlog tells what happened in a cluster near an instant, from
// its archived WAL alone: how transactions ended, which of them removed
// relations or databases, restore points, switches of the timeline. It is for
// a person who looks for the moment of a mistake, to restore to just before.
//
// It finds the instant by the times in the headers of WAL objects (docs/
// FORMAT.md, section 4.2) with a number of small reads that grows with the
// logarithm of the archive, reads the WAL around it, and changes nothing. It
// speaks to package repository alone and knows neither keys nor servers.
//
// What WAL tells of a removal is PostgreSQL's xl_xact_relfilelocators
// (src/include/access/xact.h): files, not names. edge.go and track.go decide
// and do nothing else.
package commitlog
