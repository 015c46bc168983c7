package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pgark/pgark/storage"
)

// leastMoved is the size below which Amazon moves no object by itself, unless the configuration or the rule's own filter of sizes says otherwise.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-transition-general-considerations.html
const leastMoved = 128 << 10

// movedAbove returns the size in bytes above which objects are moved to a class, whatever else the rule says. Stores that do not tell of a least size
// have none.
func movedAbove(least types.TransitionDefaultMinimumObjectSize, f *types.LifecycleRuleFilter, class string) int64 {
	bounded := f != nil && (f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil ||
		f.And != nil && (f.And.ObjectSizeGreaterThan != nil || f.And.ObjectSizeLessThan != nil))
	switch {
	case bounded:
	case least == types.TransitionDefaultMinimumObjectSizeAllStorageClasses128k,
		least == types.TransitionDefaultMinimumObjectSizeVariesByStorageClass && !isArchive(class):
		return leastMoved - 1
	}
	return 0
}

// Lifecycle implements storage.Lifecycler. It needs s3:GetLifecycleConfiguration.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html
func (s *Store) Lifecycle(ctx context.Context) ([]storage.LifecycleRule, error) {
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: s.bucket()})
	switch {
	case err != nil && codeOf(err) == "NoSuchLifecycleConfiguration":
		return nil, nil
	case err != nil:
		return nil, s.unsupported(ctx, "lifecycle", err)
	}
	var rules []storage.LifecycleRule
	for _, r := range out.Rules {
		if rule, ours := s.lifecycleRule(r, out.TransitionDefaultMinimumObjectSize); ours {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// lifecycleRule reads one rule, of a configuration that says from which size on objects are moved; false if it concerns no object of the store.
func (s *Store) lifecycleRule(r types.LifecycleRule, least types.TransitionDefaultMinimumObjectSize) (storage.LifecycleRule, bool) {
	rule := storage.LifecycleRule{ID: aws.ToString(r.ID), Enabled: r.Status == types.ExpirationStatusEnabled}
	prefix := aws.ToString(r.Prefix) //nolint:staticcheck // old configurations have no other
	if f := r.Filter; f != nil {
		prefix, rule.Tagged = aws.ToString(f.Prefix), f.Tag != nil
		rule.Larger, rule.Smaller = aws.ToInt64(f.ObjectSizeGreaterThan), aws.ToInt64(f.ObjectSizeLessThan)
		if f.And != nil {
			prefix, rule.Tagged = aws.ToString(f.And.Prefix), len(f.And.Tags) > 0
			rule.Larger, rule.Smaller = aws.ToInt64(f.And.ObjectSizeGreaterThan), aws.ToInt64(f.And.ObjectSizeLessThan)
		}
	}
	within, ours := below(s.root(), prefix)
	if !ours {
		return rule, false
	}
	rule.Prefix = within
	if e := r.Expiration; e != nil {
		if e.Days != nil || e.Date != nil {
			rule.Expires = &storage.Age{Days: int(aws.ToInt32(e.Days)), On: aws.ToTime(e.Date)}
		}
		rule.Markers = aws.ToBool(e.ExpiredObjectDeleteMarker) || e.Days != nil // days remove such markers too
	}
	move := func(after storage.Age, to types.TransitionStorageClass) storage.LifecycleMove {
		class := string(to)
		return storage.LifecycleMove{After: after, Class: class, Larger: movedAbove(least, r.Filter, class), Archive: isArchive(class)}
	}
	for _, t := range r.Transitions {
		rule.Moves = append(rule.Moves, move(storage.Age{Days: int(aws.ToInt32(t.Days)), On: aws.ToTime(t.Date)}, t.StorageClass))
	}
	for _, t := range r.NoncurrentVersionTransitions {
		rule.OlderMoves = append(rule.OlderMoves, move(storage.Age{Days: int(aws.ToInt32(t.NoncurrentDays))}, t.StorageClass))
	}
	if n := r.NoncurrentVersionExpiration; n != nil {
		rule.OlderDays = int(aws.ToInt32(n.NoncurrentDays))
	}
	if a := r.AbortIncompleteMultipartUpload; a != nil {
		rule.UploadDays = int(aws.ToInt32(a.DaysAfterInitiation))
	}
	return rule, true
}

// LifecycleConfiguration is what put-bucket-lifecycle-configuration takes.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
type LifecycleConfiguration struct {
	Rules []LifecycleRule `json:"Rules"`
}

// LifecycleRule is one rule of it, by S3's names.
type LifecycleRule struct {
	ID                             string              `json:"ID"`
	Status                         string              `json:"Status"`
	Filter                         LifecycleFilter     `json:"Filter"`
	Transitions                    []Transition        `json:"Transitions,omitempty"`
	Expiration                     *Expiration         `json:"Expiration,omitempty"`
	NoncurrentVersionExpiration    *NoncurrentVersions `json:"NoncurrentVersionExpiration,omitempty"`
	AbortIncompleteMultipartUpload *IncompleteUploads  `json:"AbortIncompleteMultipartUpload,omitempty"`
}

// LifecycleFilter says which objects a rule concerns: by prefix alone, or by all of And.
type LifecycleFilter struct {
	Prefix *string       `json:"Prefix,omitempty"`
	And    *LifecycleAnd `json:"And,omitempty"`
}

// LifecycleAnd are conditions that must all hold. The size is in bytes.
type LifecycleAnd struct {
	Prefix                string `json:"Prefix"`
	ObjectSizeGreaterThan int64  `json:"ObjectSizeGreaterThan"`
}

// Transition moves objects to a class.
type Transition struct {
	Days         int    `json:"Days"`
	StorageClass string `json:"StorageClass"`
}

// Expiration removes delete markers that hide nothing.
type Expiration struct {
	ExpiredObjectDeleteMarker bool `json:"ExpiredObjectDeleteMarker"`
}

// NoncurrentVersions removes versions that were put over or deleted.
type NoncurrentVersions struct {
	NoncurrentDays int `json:"NoncurrentDays"`
}

// IncompleteUploads ends uploads that nobody ended.
type IncompleteUploads struct {
	DaysAfterInitiation int `json:"DaysAfterInitiation"`
}

// Lifecycle writes rules as the configuration of the bucket.
func (o Options) Lifecycle(rules []storage.LifecycleRule) LifecycleConfiguration {
	var c LifecycleConfiguration
	root := o.Prefix
	if root != "" {
		root += "/"
	}
	for _, r := range rules {
		prefix := root + string(r.Prefix)
		rule := LifecycleRule{ID: r.ID, Status: string(types.ExpirationStatusEnabled), Filter: LifecycleFilter{Prefix: &prefix}}
		if r.Larger > 0 {
			rule.Filter = LifecycleFilter{And: &LifecycleAnd{Prefix: prefix, ObjectSizeGreaterThan: r.Larger}}
		}
		for _, m := range r.Moves {
			rule.Transitions = append(rule.Transitions, Transition{Days: m.After.Days, StorageClass: m.Class})
		}
		if r.Markers {
			rule.Expiration = &Expiration{ExpiredObjectDeleteMarker: true}
		}
		if r.OlderDays > 0 {
			rule.NoncurrentVersionExpiration = &NoncurrentVersions{NoncurrentDays: r.OlderDays}
		}
		if r.UploadDays > 0 {
			rule.AbortIncompleteMultipartUpload = &IncompleteUploads{DaysAfterInitiation: r.UploadDays}
		}
		c.Rules = append(c.Rules, rule)
	}
	return c
}
