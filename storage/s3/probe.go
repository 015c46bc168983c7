package s3

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/pgark/pgark/storage"
)

const probeBody = "pgark asked here whether a conditional create is honoured\n"

// Probe implements storage.Prober: it creates storage.ProbeKey, which stays. If the store says that it
// exists already, creates are conditional. If not, a second create must be refused. A store that lets
// it pass, or that answers 501 to the header, ignores conditions: from then on each create looks first
// whether the object exists, and sends no condition.
func (s *Store) Probe(ctx context.Context) (storage.Conditional, error) {
	answer := storage.ConditionalIgnored
	for range 2 {
		err := s.put(ctx, storage.ProbeKey, object{body: []byte(probeBody), condition: aws.String("*")})
		if errors.Is(err, storage.ErrExists) {
			answer = storage.ConditionalHonoured
			break
		}
		if isNotImplemented(err) {
			break
		}
		if err != nil {
			return storage.ConditionalUnknown, err
		}
	}
	s.conditional.Store(int32(answer))
	return answer, nil
}

// Conditional returns what Probe found.
func (s *Store) Conditional() storage.Conditional { return storage.Conditional(s.conditional.Load()) }

// condition returns the If-None-Match of a create. At a store that ignores it, it looks whether the
// object exists instead.
func (s *Store) condition(ctx context.Context, key storage.Key) (*string, error) {
	if s.Conditional() != storage.ConditionalIgnored {
		return aws.String("*"), nil
	}
	_, err := s.Stat(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	default:
		return nil, s.fault(ctx, "put", key, storage.ErrExists)
	}
}
