package status

// Lock is how the objects of a repository come under lock, where one is configured.
type Lock struct {
	// Mode is governance or compliance, and Seconds how long from its creation on; absent with an Error.
	Mode    string `json:"mode,omitempty"`
	Seconds int64  `json:"seconds,omitempty"`
	// By is LockedByBucket, or LockedByAgent where each object is sent with its lock.
	By string `json:"by,omitempty"`
	// Looked is how many old records were looked at, as far as the credential may see locks, and Unlocked how many of them are under none.
	Looked   int `json:"looked,omitempty"`
	Unlocked int `json:"unlocked,omitempty"`
	// Error says why it is not known, or that nothing can be locked.
	Error string `json:"error,omitempty"`
}

// Who gives an object its lock.
const (
	LockedByBucket = "bucket"
	LockedByAgent  = "agent"
)
