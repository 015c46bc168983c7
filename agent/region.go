package agent

import (
	"context"
	"net/url"
	"strings"

	"github.com/pgark/pgark/storage/s3"
)

// WithRegion completes an s3 URL that names neither region nor endpoint by the region that this host's AWS settings name, and by the
// profile that its environment names, so that an agent that is started elsewhere finds the same bucket. Other URLs it returns as they are.
func WithRegion(ctx context.Context, repoURL, profile string) string {
	u, err := url.Parse(repoURL)
	if err != nil || u.Scheme != "s3" {
		return repoURL
	}
	query := u.Query()
	var words []string
	if !query.Has("region") && !query.Has("endpoint") {
		if region := s3.DefaultRegion(ctx); region != "" {
			words = append(words, "region="+url.QueryEscape(region))
		}
	}
	if profile != "" && profile != "default" && !query.Has("profile") {
		words = append(words, "profile="+url.QueryEscape(profile))
	}
	if len(words) == 0 {
		return repoURL
	}
	if u.RawQuery != "" {
		words = append([]string{u.RawQuery}, words...)
	}
	u.RawQuery = strings.Join(words, "&") // what was given stays as it was written
	return u.String()
}
