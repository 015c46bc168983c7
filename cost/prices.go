// Package cost says what an archive costs in a bucket, by the month: storage, requests and transfer between regions; what another week of the recovery window would
// add; and what other upload intervals would cost, beside how much of the commits each may lose. It is pure: it asks nobody, and the same facts give the same figures.
//
// It is an estimate, at the prices that are given or else at a list of prices that is said wherever a figure is shown. What is not known of an archive is left out and
// named (NotCounted), never guessed.
package cost

import "time"

const (
	// Month is the length of the month of all figures: a twelfth of 8,760 hours.
	Month = 730 * time.Hour
	// GB is what Amazon bills as one, 2^30 bytes (https://aws.amazon.com/s3/faqs/, the examples of what is charged).
	GB = 1 << 30
)

// Prices are in USD.
type Prices struct {
	// Storage is for a GB and a month, of what has no storage class of its own.
	Storage float64 `json:"storage_gb_month"`
	// Put is for a thousand requests that write or list, Get for a thousand that read. Deleting is free.
	Put float64 `json:"put_thousand"`
	Get float64 `json:"get_thousand"`
	// Transfer is for a GB that is put from another region.
	Transfer float64 `json:"transfer_gb"`
}

// Given are the prices that a configuration gives; nil leaves one to the list.
type Given struct{ Storage, Put, Get, Transfer *float64 }

// Any reports whether there is one.
func (g Given) Any() bool { return g != Given{} }

// ListText names the list of prices that counts where none are given.
const ListText = "list prices of S3 in us-east-1 as of May 2026"

// List are the prices of Amazon S3 Standard in us-east-1, without tax, discounts and free tiers (https://aws.amazon.com/s3/pricing/). Transfer is that from there to
// another region.
func List() Prices { return Prices{Storage: 0.023, Put: 0.005, Get: 0.0004, Transfer: 0.02} }

// listed is the price of a GB and month in a storage class, of the same list; false for one that is not in it.
func listed(class string) (float64, bool) {
	price, ok := map[string]float64{
		"": List().Storage, "STANDARD": List().Storage, "STANDARD_IA": 0.0125, "ONEZONE_IA": 0.01,
		"GLACIER_IR": 0.004, "GLACIER": 0.0036, "DEEP_ARCHIVE": 0.00099,
	}[class]
	return price, ok
}

// Store is what is known of who bills for a repository.
type Store int

// The stores.
const (
	// Amazon bills by the list, where no prices are given.
	Amazon Store = iota
	// Other bills by prices that are not known, where none are given.
	Other
	// Folder costs nothing, where no prices are given.
	Folder
)

// tariff is what a repository is billed by.
type tariff struct {
	Prices

	byList bool // some are the list's
	flat   bool // storage costs the same in each class
}

// tariffOf returns false where nothing says what a store bills. A price that is not given is the list's at Amazon, and 0 elsewhere.
func tariffOf(s Store, g Given) (tariff, bool) {
	if s == Other && !g.Any() {
		return tariff{}, false
	}
	var t tariff
	if s == Amazon {
		t.Prices = List()
	}
	t.flat = s != Amazon || g.Storage != nil
	for _, one := range []struct {
		to   *float64
		from *float64
	}{{&t.Storage, g.Storage}, {&t.Put, g.Put}, {&t.Get, g.Get}, {&t.Transfer, g.Transfer}} {
		if one.from != nil {
			*one.to = *one.from
		} else if s == Amazon {
			t.byList = true
		}
	}
	return t, true
}

// storage is the price of a GB and month in a class; false for a class whose price is not known.
func (t tariff) storage(class string) (float64, bool) {
	if t.flat {
		return t.Storage, true
	}
	return listed(class)
}
