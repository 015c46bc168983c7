// Package retention decides what a repository need not keep any more, and lets it go: the base backups and the WAL that no instant of the recovery
// window needs, no pin, no rule of the calendar and nobody who reads just now (docs/FORMAT.md, sections 8 and 13 to 15; docs/decisions/0013-retention.md).
//
// What decides is pure: catalog.go, lineage.go, window.go, calendar.go, plan.go. It goes by the ancestry of timelines, by LSN and by the store's times, never by
// the order of names. What acts, load.go and run.go, deletes nothing unless all that it decides by could be read, twice.
package retention
