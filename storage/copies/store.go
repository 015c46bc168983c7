package copies

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

// Member is one place. Its store makes failed calls again by itself (storage/retry), for ever.
type Member struct {
	Name  string // for people; without secrets
	Store storage.Store
}

// Options of New. Required is needed if it is not Primary; CatchUp is needed.
type Options struct {
	Required Policy
	// CatchUp copies what from has and to lacks, in an order in which to is usable at every moment. It
	// returns an error that wraps storage.ErrConflict if to holds another content under a key. As long as needed says so, calls that make
	// objects wait until to is up to date. It may be called at any time, by several goroutines.
	CatchUp func(ctx context.Context, from, to storage.Store, needed func() bool) error
	// Same reports whether two contents of a key, which differ in their bytes, are the same. Nil means
	// never.
	Same func(key storage.Key, a, b []byte) bool
	// Marker is an object that every member has. A live member without it was emptied or swapped.
	Marker storage.Key
	// Backlog is how many bytes are held for a member that is slower than what is required, 0 for
	// 64 MiB. What exceeds it leaves the member behind.
	Backlog int64
	// Check is how often each live member's marker is looked for, 0 for 20 s.
	Check time.Duration
	// Again is how often a live copy is brought up to date from the primary once more, 0 for 6 h: with what another program put
	// there, or what the copy lost. It is done after each outage too.
	Again time.Duration
	// Outage is how long a call takes that tells of an outage, 0 for 5 s.
	Outage time.Duration
	// Patience is how long a read may take on a member before another is asked, 0 for 30 s.
	Patience time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

const (
	defaultBacklog  = 64 << 20
	defaultCheck    = 20 * time.Second
	defaultAgain    = 6 * time.Hour
	defaultOutage   = 5 * time.Second
	defaultPatience = 30 * time.Second
	mostPending     = 1000 // calls that a member may be behind
)

// State is what a member is.
type State string

// The states.
const (
	Behind  State = "behind"
	Joining State = "joining"
	Live    State = "live"
	Refused State = "refused"
)

// MemberStatus is what is known of a member.
type MemberStatus struct {
	Name    string
	State   State
	Since   time.Time // of the state
	Err     error     // why it is behind or refused; nil otherwise
	Pending int       // calls whose objects it does not hold yet
	Bytes   int64     // held for it
	Oldest  time.Time // when the oldest of them began; zero if there is none
}

// Errors that leave a member behind.
var (
	// ErrSlow says that a member took less than was written.
	ErrSlow = errors.New("cannot keep up")
	// ErrEmptied says that a member's marker is gone.
	ErrEmptied = errors.New("was emptied or swapped: its marker is gone")

	errLacks = errors.New("lacks an object that was begun without it")
)

// Store is the store made of the members. Nothing works before Run runs. It is safe for concurrent use.
type Store struct {
	options Options
	members []*member
	parts   sync.Pool // *[]byte: memory of parts that were sent

	mu      sync.Mutex
	changed chan struct{} // closed at each change
	last    uint64        // number of the last call
	open    map[*op]bool  // calls whose callers wait
}

// member is a Member and what is at work there. All but the first block belongs to Store.mu.
type member struct {
	Member

	index int

	state   State
	since   time.Time
	err     error
	pending map[*op]chan struct{} // what it does not hold yet; closed when it does, or is left
	bytes   int64                 // of pending calls that have returned
	outage  bool                  // a call took so long that other programs may have done without it
	again   bool                  // it is joining, and is to be brought up to date once more before it is live
	//nolint:containedctx // it ends when the member is left, and outlives the calls that use it
	ctx    context.Context // of this time of being joining or live
	cancel context.CancelCauseFunc
}

// op is one call that makes or removes an object.
type op struct {
	number uint64
	key    storage.Key
	began  time.Time
	size   int64
	// send does the work on one member.
	send func(ctx context.Context, m *member) (answer, error)
	// once says that send cannot be called again when a member joins: it gets the object from another.
	once bool

	// Of Store.mu.
	returned bool
	answers  map[*member]answer
	conflict error // a member that had another content than the others took
	failed   error // of a call with once
}

// answer is what a member said to a call that it did.
type answer int

const (
	made  answer = iota + 1
	same         // the object was there with the same content
	other        // the object was there with another content, or with one that was not compared
)

// New makes one store of members, the primary first. It reads and writes nothing before Run.
func New(members []Member, o Options) (*Store, error) {
	if err := o.Required.Validate(len(members)); err != nil {
		return nil, err
	}
	if o.Backlog <= 0 {
		o.Backlog = defaultBacklog
	}
	if o.Check <= 0 {
		o.Check = defaultCheck
	}
	if o.Again <= 0 {
		o.Again = defaultAgain
	}
	if o.Outage <= 0 {
		o.Outage = defaultOutage
	}
	if o.Patience <= 0 {
		o.Patience = defaultPatience
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{options: o, changed: make(chan struct{}), open: map[*op]bool{}}
	for i, m := range members {
		s.members = append(s.members, &member{Member: m, index: i, state: Behind, since: time.Now(), pending: map[*op]chan struct{}{}})
	}
	return s, nil
}

// Status returns what is known of each member, the primary first.
func (s *Store) Status() []MemberStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []MemberStatus
	for _, m := range s.members {
		st := MemberStatus{Name: m.Name, State: m.state, Since: m.since, Err: m.err, Pending: len(m.pending), Bytes: m.bytes}
		for o := range m.pending {
			if st.Oldest.IsZero() || o.began.Before(st.Oldest) {
				st.Oldest = o.began
			}
		}
		all = append(all, st)
	}
	return all
}

// Drain returns when every member that is live or joining holds all that was begun.
func (s *Store) Drain(ctx context.Context) error {
	for {
		s.mu.Lock()
		drained, changed := true, s.changed
		for _, m := range s.members {
			drained = drained && len(m.pending) == 0
		}
		s.mu.Unlock()
		if drained {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// change wakes all who wait. The lock is held.
func (s *Store) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// sent reports whether new objects go to m. The lock is held.
func (m *member) sent() bool { return m.state == Live || m.state == Joining }

// upTo returns the number of the last call up to which m holds everything. The lock is held.
func (s *Store) upTo(m *member) uint64 {
	n := s.last
	for o := range m.pending {
		n = min(n, o.number-1)
	}
	return n
}

// live returns the live member that holds most, other than not; nil if there is none. The lock is held.
func (s *Store) live(not *member) *member {
	var best *member
	for _, m := range s.members {
		if m != not && m.state == Live && (best == nil || s.upTo(m) > s.upTo(best)) {
			best = m
		}
	}
	return best
}

// satisfied reports whether enough members hold what o and all calls before it made. The lock is held.
func (s *Store) satisfied(o *op) bool {
	holds := make([]bool, len(s.members))
	for i, m := range s.members {
		holds[i] = m.state == Live && s.upTo(m) >= o.number && (!o.once || o.answers[m] != 0)
	}
	return s.options.Required.enough(holds)
}

// needed reports whether m keeps calls from returning until it is up to date.
func (s *Store) needed(m *member) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := make([]bool, len(s.members))
	for i, other := range s.members {
		live[i] = other.state == Live
	}
	return m.state == Joining && !s.options.Required.enough(live)
}

// possible reports whether the policy could be satisfied without the members that were refused. The lock
// is held.
func (s *Store) possible() bool {
	could := make([]bool, len(s.members))
	for i, m := range s.members {
		could[i] = m.state != Refused
	}
	return s.options.Required.enough(could)
}

// begin numbers a call and sends it to all members that are sent to.
func (s *Store) begin(o *op, only []*member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	o.number, o.began, o.answers = s.last, time.Now(), map[*member]answer{}
	s.open[o] = true
	for _, m := range s.members {
		switch {
		case !m.sent():
		case only == nil || slices.Contains(only, m):
			s.start(m, o)
		default:
			s.lack(m, o)
		}
	}
}

// lack notes that m does not get what a call with once makes but from another member. The lock is held.
func (s *Store) lack(m *member, o *op) {
	if m.state == Joining {
		m.again = true // what it is at is not broken off: a base backup makes one object after the other
		return
	}
	s.leave(m, fmt.Errorf("%w: %s", errLacks, o.key))
}

// start sends a call to m, once m holds what calls made that have returned before, or that were on the same
// key: of several on one key the same is the first on each member. The lock is held.
func (s *Store) start(m *member, o *op) {
	done := make(chan struct{})
	var before []chan struct{}
	for p, d := range m.pending {
		if p.returned || p.key == o.key {
			before = append(before, d)
		}
	}
	m.pending[o] = done
	ctx := m.ctx
	go func() {
		for _, d := range before {
			select {
			case <-d:
			case <-ctx.Done():
				return // left: leave has cleared up
			}
		}
		began := time.Now()
		a, err := o.send(ctx, m)
		s.mu.Lock()
		defer s.mu.Unlock()
		m.outage = m.outage || time.Since(began) > s.options.Outage
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			o.failed = errors.Join(o.failed, err)
			if !o.once || o.returned && len(o.answers) > 0 {
				s.leave(m, err)
				return
			}
			s.settle(m, o) // give leaves it, if others hold the object
			s.change()
			return
		}
		o.answers[m] = a
		s.settle(m, o)
		s.judge(o)
		s.change()
	}()
}

// judge leaves the members behind that had another content than the others took. The lock is held.
func (s *Store) judge(o *op) {
	outcome := o.outcome()
	for m, a := range o.answers {
		if a == other && outcome != other {
			o.conflict = &storage.Error{Op: "put", Key: o.key, Place: m.Name, Err: storage.ErrConflict}
			delete(o.answers, m)
			s.leave(m, o.conflict)
		}
	}
}

// outcome is made if a member made the object, or else same if one had it. The lock is held.
func (o *op) outcome() answer {
	outcome := other
	for _, a := range o.answers {
		outcome = min(outcome, a)
	}
	return outcome
}

// settle notes that m holds, or will never be sent, what a call made. The lock is held.
func (s *Store) settle(m *member, o *op) {
	close(m.pending[o])
	delete(m.pending, o)
	if o.returned {
		m.bytes -= o.size
	}
}

// leave stops sending to m, because of err. The lock is held.
func (s *Store) leave(m *member, err error) {
	if m.sent() {
		s.end(m, err)
		s.options.Logger.Error("repository is left behind", "repo", m.Name, "state", string(m.state), "err", err)
	}
}

// end stops sending to m. The lock is held.
func (s *Store) end(m *member, err error) {
	m.state, m.since, m.err = Behind, time.Now(), err
	if errors.Is(err, storage.ErrConflict) {
		m.state = Refused
	}
	m.cancel(err)
	for o := range m.pending {
		s.settle(m, o)
	}
	s.change()
}

// wait returns when enough members hold what the call made, with storage.ErrExists if none made it. After
// another error the call may have done its work on some.
func (s *Store) wait(ctx context.Context, o *op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer delete(s.open, o)
	for {
		if o.conflict != nil && !s.possible() {
			s.give(o)
			return o.conflict
		}
		if s.satisfied(o) {
			s.give(o)
			if o.outcome() != made {
				return storage.ErrExists
			}
			return nil
		}
		if o.once && len(o.answers) == 0 && !s.sending(o) {
			s.give(o)
			return errors.Join(o.failed, fmt.Errorf("%s: %w", o.key, storage.ErrUploadLost))
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			s.give(o)
			return context.Cause(ctx)
		}
	}
}

// sending reports whether a member is still being sent what o makes. The lock is held.
func (s *Store) sending(o *op) bool {
	return slices.ContainsFunc(s.members, func(m *member) bool { return m.pending[o] != nil })
}

// give lets the caller go on. What members still lack is held for them, as far as the backlog goes. The
// lock is held.
func (s *Store) give(o *op) {
	o.returned = true
	for _, m := range s.members {
		if m.pending[o] == nil {
			if o.once && len(o.answers) > 0 && o.answers[m] == 0 {
				s.lack(m, o)
			}
			continue
		}
		m.bytes += o.size
		if m.bytes > s.options.Backlog || len(m.pending) > mostPending {
			s.leave(m, ErrSlow)
		}
	}
}
