// Package recall finds what was deleted from a repository or put over since an instant, in a bucket that keeps versions, and brings it back:
// the version of then is put on top again, which needs no right to delete and loses nothing. What pgark itself lets go stays as it is.
package recall
