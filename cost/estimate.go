package cost

import (
	"math"
	"time"
)

// Kind is what a part of a repository is.
type Kind string

// The kinds.
const (
	Backups Kind = "base"
	WAL     Kind = "wal"
)

// Kept is a part of what a repository holds.
type Kept struct {
	Kind  Kind
	Class string // storage class; "" for the bucket's own
	Bytes int64
}

// Rates are what a repository gets in a month, by the last days. nil is not known.
type Rates struct {
	WAL     *float64 // bytes, as stored
	Objects *float64 // of WAL, that stay: whole segments
	Backups *float64 // bytes, as stored
}

// Requests are those of a month. Deletions are free, and not among them.
type Requests struct {
	Puts float64 `json:"puts"` // that write or list
	Gets float64 `json:"gets"` // that read
}

func (r Requests) plus(other Requests) Requests {
	return Requests{r.Puts + other.Puts, r.Gets + other.Gets}
}

// Repository is what is known of one.
type Repository struct {
	Name  string
	Store Store
	Given Given
	Kept  []Kept
	Rates Rates
	// BackupClass and WALClass are those of what is put there from now on.
	BackupClass, WALClass string
	// Records is how many base backups there are.
	Records int
	// Far says that it lies in another region than who puts objects there; nil if that is not known.
	Far *bool
	// ByBucket says that another bucket puts them there.
	ByBucket bool
	// Silent says that it did not answer: then nothing is known of it.
	Silent bool
	// Puts is how many objects and parts its agent put there, reckoned up to a month; nil where no agent tells.
	Puts *float64
}

// Habits are what agents and people do, that requests come from.
type Habits struct {
	// Every is the longest time for which WAL waits before it is put; 0 is not known.
	Every time.Duration
	// Synchronous says that commits wait for the archive: then WAL is put for each of them, and not by Every.
	Synchronous bool
	// Looks says that an agent looks at the repositories for its page and metrics.
	Looks bool
}

// Bound says what a figure for requests stands on.
type Bound string

const (
	// Measured says that the agent counted what it puts; what it reads and lists is as many as that, and as its schedules make, at most.
	Measured Bound = "measured"
	// AtMost says that they are reckoned as if the server were busy day and night.
	AtMost Bound = "at_most"
)

// Estimate is what one repository costs, USD a month. What is not known is absent.
type Estimate struct {
	Name string `json:"name"`
	// Month is all of it; absent where a part is not known.
	Month *float64 `json:"usd_month,omitempty"`
	// Prices are what it is reckoned by; ByList says that they, or some, are those of ListText.
	Prices *Prices `json:"prices,omitempty"`
	ByList bool    `json:"list_prices,omitempty"`

	Storage     *float64 `json:"storage_usd_month,omitempty"`
	StorageBase *float64 `json:"storage_base_usd_month,omitempty"`
	StorageWAL  *float64 `json:"storage_wal_usd_month,omitempty"`
	// RequestsUSD is for Requests, of which Basis says what they stand on. Quiet is for those of a month in which nothing is written.
	RequestsUSD *float64  `json:"requests_usd_month,omitempty"`
	Requests    *Requests `json:"requests,omitempty"`
	Basis       Bound     `json:"requests_basis,omitempty"`
	Quiet       *float64  `json:"quiet_requests_usd_month,omitempty"`
	// Transfer is for what is put there from another region.
	Transfer *float64 `json:"transfer_usd_month,omitempty"`
	// Week is what a recovery window that is a week longer would add to the storage.
	Week *float64 `json:"another_week_usd_month,omitempty"`
	// Unknown says why something is absent; "" where nothing is.
	Unknown string `json:"unknown,omitempty"`
}

// Bill is what the repositories of a cluster cost, USD a month.
type Bill struct {
	// Month and Week are those of all repositories; absent where that of one is not known.
	Month *float64 `json:"usd_month,omitempty"`
	Week  *float64 `json:"another_week_usd_month,omitempty"`
	// AtMost says that Month is a bound: requests are reckoned as if the server were busy day and night.
	AtMost       bool       `json:"at_most,omitempty"`
	Repositories []Estimate `json:"repositories"`
	// Trade is what upload intervals cost, and may lose; empty where commits wait for the archive, and where nothing is billed.
	Trade []Choice `json:"upload_trade"`
	// Prices says what all is reckoned at, and NotCounted what is left out, in words.
	Prices     string `json:"prices_text"`
	NotCounted string `json:"not_counted"`
}

// NotCounted is what no estimate holds.
const NotCounted = "Not counted: older versions that the bucket keeps, least terms and sizes, retrieval and dearer requests of cheap storage classes, free tiers and discounts, " +
	"what restores, drills and verifications read from another region, a page that somebody watches, and tax."

// Of reckons what repositories cost, the primary first.
func Of(all []Repository, h Habits) *Bill {
	b := &Bill{Repositories: []Estimate{}, Trade: []Choice{}, NotCounted: NotCounted}
	month, week := new(float64), new(float64)
	byList, given := false, false
	for _, r := range all {
		if r.ByBucket && r.Puts == nil { // it gets what the primary gets
			r.Puts = all[0].Puts
		}
		e := r.estimate(h)
		b.Repositories = append(b.Repositories, e)
		month, week = sum(month, e.Month), sum(week, e.Week)
		b.AtMost = b.AtMost || e.Basis == AtMost && e.RequestsUSD != nil && *e.RequestsUSD > 0
		byList, given = byList || e.ByList, given || r.Given.Any()
	}
	b.Month, b.Week = month, week
	switch {
	case byList && given:
		b.Prices = "at the prices that are configured, others at " + ListText + "; set prices: for yours"
	case byList:
		b.Prices = "at " + ListText + "; set prices: for yours"
	case given:
		b.Prices = "at the prices that are configured"
	default:
		b.Prices = "no prices: a folder costs nothing here, and another store's are not known; set prices: for yours"
	}
	b.Trade = trade(all, h)
	return b
}

// Billed reports whether there is anything to tell: a figure that is known and is not 0.
func (b *Bill) Billed() bool { return b != nil && b.Month != nil && *b.Month > 0 }

func (r Repository) estimate(h Habits) Estimate {
	e := Estimate{Name: r.Name}
	t, ok := tariffOf(r.Store, r.Given)
	if r.Silent {
		e.Unknown = "it did not answer"
		return e
	}
	if !ok {
		e.Unknown = "the prices of this store are not known: set prices:"
		return e
	}
	e.Prices, e.ByList = &t.Prices, t.byList
	e.StorageBase, e.StorageWAL = new(float64), new(float64)
	for _, k := range r.Kept {
		to := &e.StorageWAL
		if k.Kind == Backups {
			to = &e.StorageBase
		}
		price, known := t.storage(k.Class)
		if !known {
			e.Unknown = "the price of storage class " + k.Class + " is not known: set prices.storage"
			*to = nil
		}
		*to = sum(*to, dollars(float64(k.Bytes)/GB*price))
	}
	e.Storage = sum(e.StorageBase, e.StorageWAL)
	r.requests(&e, t, h)
	r.transfer(&e, t)
	r.week(&e, t)
	e.Month = sum(sum(e.Storage, e.RequestsUSD), e.Transfer)
	return e
}

// transfer is for what comes from another region.
func (r Repository) transfer(e *Estimate, t tariff) {
	switch {
	case t.Transfer == 0, r.Far != nil && !*r.Far:
		e.Transfer = new(float64)
	case r.Far == nil:
		e.unknown("in which regions it and the primary lie is not known")
	case r.Rates.WAL == nil || r.Rates.Backups == nil:
		e.unknown("how much is put there in a month is known after two base backups with an hour between them")
	default:
		e.Transfer = dollars((*r.Rates.WAL + *r.Rates.Backups) / GB * t.Transfer)
	}
}

// week is for what a week puts there.
func (r Repository) week(e *Estimate, t tariff) {
	const share = float64(7*24*time.Hour) / float64(Month)
	backups, ok := t.storage(r.BackupClass)
	segments, too := t.storage(r.WALClass)
	if r.Rates.WAL == nil || r.Rates.Backups == nil || !ok || !too {
		if t.Storage == 0 && t.flat {
			e.Week = new(float64)
		}
		return
	}
	e.Week = dollars(share * (*r.Rates.Backups*backups + *r.Rates.WAL*segments) / GB)
}

// unknown notes why something is absent. What was noted first stays.
func (e *Estimate) unknown(why string) {
	if e.Unknown == "" {
		e.Unknown = why
	}
}

// sum is absent where one of the two is.
func sum(a, b *float64) *float64 {
	if a == nil || b == nil {
		return nil
	}
	return dollars(*a + *b)
}

// dollars rounds to the millionth, so that what is told is the same on every machine.
func dollars(v float64) *float64 {
	v = math.Round(v*1e6) / 1e6
	return &v
}
