package s3

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	// defaultRegion is that of a store with an endpoint of its own, which has none.
	defaultRegion = "us-east-1"
	// roleSession is the name that CloudTrail and a bucket's policy see behind the role's.
	roleSession = "pgark"
	// roleDuration is how long a session lasts: the least that every role allows as its most, and the most for a role that is assumed
	// by a role. A long one carries over an outage of STS.
	roleDuration = time.Hour
	// roleMargin is how long before its end a session is renewed.
	roleMargin = 2 * time.Minute
)

// role gives the credentials of a role that is assumed with those of another provider.
type role struct {
	arn      string
	provider aws.CredentialsProvider
}

// assume returns the credentials of the role that o names, assumed by those of conf. They are renewed before they end.
func assume(conf aws.Config, o Options) aws.CredentialsProvider {
	client := sts.NewFromConfig(conf, func(so *sts.Options) { so.Region = cmp.Or(so.Region, defaultRegion) })
	provider := stscreds.NewAssumeRoleProvider(client, o.Role, func(ro *stscreds.AssumeRoleOptions) {
		ro.RoleSessionName = roleSession
		ro.Duration = roleDuration
		ro.ExternalID = optional(o.RoleExternalID)
	})
	return aws.NewCredentialsCache(role{o.Role, provider}, func(co *aws.CredentialsCacheOptions) { co.ExpiryWindow = roleMargin })
}

// Retrieve implements aws.CredentialsProvider.
func (r role) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := r.provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &roleError{r.arn, err}
	}
	return found, nil
}

// roleError says that a role could not be assumed.
type roleError struct {
	arn string
	err error
}

// Error implements error.
func (e *roleError) Error() string { return fmt.Sprintf("assume role %s: %v", e.arn, e.err) }

// Unwrap returns the cause.
func (e *roleError) Unwrap() error { return e.err }
