package s3

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pgark/pgark/storage"
)

// isArchive tells whether objects of a storage class must be thawed before they are read. GLACIER_IR's need not be.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/archived-objects.html
func isArchive(class string) bool {
	return class == string(types.StorageClassGlacier) || class == string(types.StorageClassDeepArchive)
}

// listedArchive is what a listing tells by the class of an object or of a version: of one that moves by itself that it may be archived.
func listedArchive(class string) storage.Archive {
	if isArchive(class) || class == string(types.ObjectStorageClassIntelligentTiering) {
		return storage.Archive{Class: class, Listed: true}
	}
	return storage.Archive{}
}

// archiveOf is what HEAD tells.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func archiveOf(out *s3.HeadObjectOutput) storage.Archive {
	class := string(out.StorageClass)
	if !isArchive(class) && out.ArchiveStatus == "" {
		return storage.Archive{}
	}
	asked, until := parseRestore(aws.ToString(out.Restore))
	return storage.Archive{Class: class, Asked: asked, Until: until}
}

// parseRestore reads x-amz-restore: ongoing-request="true", or ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT".
func parseRestore(header string) (asked bool, until time.Time) {
	if strings.Contains(header, `ongoing-request="true"`) {
		return true, time.Time{}
	}
	if m := regexp.MustCompile(`expiry-date="([^"]+)"`).FindStringSubmatch(header); m != nil {
		if t, err := http.ParseTime(m[1]); err == nil {
			return false, t
		}
	}
	return false, time.Time{}
}

// Thaw implements storage.Thawer. It needs s3:RestoreObject.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html
func (s *Store) Thaw(ctx context.Context, object storage.Info, how storage.Thaw) error {
	if err := ready(ctx, object.Key); err != nil {
		return s.fault(ctx, "thaw", object.Key, err)
	}
	tiers := map[storage.ThawTier]types.Tier{
		storage.ThawBulk: types.TierBulk, storage.ThawStandard: types.TierStandard, storage.ThawExpedited: types.TierExpedited,
	}
	request := &types.RestoreRequest{GlacierJobParameters: &types.GlacierJobParameters{Tier: tiers[how.Tier]}}
	if object.Archive.Class != string(types.StorageClassIntelligentTiering) { // which stays where it is until it is not read for long again
		request.Days = aws.Int32(int32(how.Days))
	}
	_, err := s.client.RestoreObject(ctx, &s3.RestoreObjectInput{Bucket: s.bucket(), Key: s.name(object.Key), VersionId: optional(object.Version), RestoreRequest: request})
	if err == nil {
		return nil
	}
	switch codeOf(err) {
	case "RestoreAlreadyInProgress", "InvalidObjectState": // it is under way; it need not be thawed
		return nil
	}
	return s.fault(ctx, "thaw", object.Key, err)
}
