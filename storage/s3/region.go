package s3

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
)

// regionPatience is how long the metadata of a virtual machine is asked for: they answer at once, or there are none.
const regionPatience = time.Second

// DefaultRegion is the region that the environment, the shared configuration file or the metadata of the virtual machine name, in this
// order as the AWS SDKs have it; "" if none does.
func DefaultRegion(ctx context.Context) string {
	conf, err := config.LoadDefaultConfig(ctx)
	if err != nil || conf.Region != "" {
		return conf.Region
	}
	ctx, cancel := context.WithTimeout(ctx, regionPatience)
	defer cancel()
	if conf, err = config.LoadDefaultConfig(ctx, config.WithEC2IMDSRegion()); err != nil {
		return ""
	}
	return conf.Region
}
