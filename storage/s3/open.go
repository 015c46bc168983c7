package s3

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/pgark/pgark/storage"
)

// Store is a storage.Store in a bucket. It is safe for concurrent use.
type Store struct {
	options     Options
	client      *s3.Client
	transport   *http.Transport
	credentials *credentials
	unsigned    bool         // bodies travel over TLS and need not be hashed for the signature
	conditional atomic.Int32 // storage.Conditional, set by Probe
	// maxCopy is the greatest object that one request copies, in bytes, and the length of the pieces in which larger ones are.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
	maxCopy  int64
	pageSize *int32 // of a list of versions; nil for the store's own
	clock    clock
	locking  locking
}

// Open returns the store over the bucket that options name. It reads the environment and the shared
// files as the AWS SDKs do, and does not talk to the store.
func Open(ctx context.Context, options Options) (*Store, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	conf, err := config.LoadDefaultConfig(ctx, options.load()...)
	if err != nil {
		return nil, fmt.Errorf("open %s: load the AWS configuration: %w", options.place(), err)
	}
	s := &Store{options: options, maxCopy: storage.MaxPart}
	s.credentials = &credentials{load: s.chain}
	conf.Credentials = s.credentials
	conf.Logger = logging.Nop{}
	s.transport = newTransport(tlsConfig(conf.HTTPClient))
	s.clock.next = s.transport
	s.client = s3.NewFromConfig(conf, s.configure)
	if s.client.Options().Region == "" {
		return nil, fmt.Errorf("open %s: %w", options.place(), urlError("no region: add ?region=… or set AWS_REGION"))
	}
	s.unsigned = !strings.HasPrefix(aws.ToString(s.client.Options().BaseEndpoint), "http://")
	return s, nil
}

// Close closes idle connections. The store remains usable.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

func (o Options) load() []func(*config.LoadOptions) error {
	load := []func(*config.LoadOptions) error{config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} })}
	add := func(set bool, f func(*config.LoadOptions) error) {
		if set {
			load = append(load, f)
		}
	}
	add(o.Region != "", config.WithRegion(o.Region))
	add(o.Profile != "", config.WithSharedConfigProfile(o.Profile))
	add(o.Dualstack, config.WithUseDualStackEndpoint(aws.DualStackEndpointStateEnabled))
	add(o.FIPS, config.WithUseFIPSEndpoint(aws.FIPSEndpointStateEnabled))
	return load
}

// chain loads the default chain anew, with the role on top if there is one.
func (s *Store) chain(ctx context.Context) (aws.CredentialsProvider, error) {
	conf, err := config.LoadDefaultConfig(ctx, s.options.load()...)
	if err != nil {
		return nil, err
	}
	if s.options.Role != "" {
		return assume(conf, s.options), nil
	}
	return conf.Credentials, nil
}

// tlsConfig returns the TLS settings of the SDK's client: AWS_CA_BUNDLE and ca_bundle are in it.
func tlsConfig(client aws.HTTPClient) *tls.Config {
	if buildable, ok := client.(*awshttp.BuildableClient); ok {
		return buildable.GetTransport().TLSClientConfig
	}
	return nil
}

func (s *Store) configure(o *s3.Options) {
	o.HTTPClient = &http.Client{
		Transport:     &s.clock,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	o.Retryer = aws.NopRetryer{}
	o.RetryMaxAttempts = 0
	o.ContinueHeaderThresholdBytes = -1
	o.DisableLogOutputChecksumValidationSkipped = true
	if s.options.Endpoint != "" {
		o.BaseEndpoint = aws.String(s.options.Endpoint)
	}
	if o.BaseEndpoint != nil && o.Region == "" {
		o.Region = defaultRegion
	}
	switch s.options.PathStyle {
	case PathStyleOn:
		o.UsePathStyle = true
	case PathStyleOff:
		o.UsePathStyle = false
	case PathStyleAuto:
		o.UsePathStyle = o.BaseEndpoint != nil && !isAmazon(*o.BaseEndpoint)
	}
	// The store's checksums are ours, computed once (see putInput); the SDK is to add none.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	if s.options.ResponseChecksum == whenSupported {
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenSupported
	}
}

func isAmazon(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return false
	}
	return strings.HasSuffix(u.Hostname(), ".amazonaws.com") || strings.HasSuffix(u.Hostname(), ".amazonaws.com.cn")
}
