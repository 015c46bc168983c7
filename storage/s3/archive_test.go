package s3_test

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

// freezing is a store whose bucket has archives.
func freezing(t *testing.T) (storage.Store, *storagetest.Glacier) {
	t.Helper()
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	proxy := storagetest.StartProxy(t, server)
	glacier := storagetest.NewGlacier()
	proxy.Add(storagetest.Rule{Fault: glacier.Fault()})
	return retry.New(open(t, proxy.URL("bucket", "main")), retry.Options{MaxElapsed: 5 * time.Second}), glacier
}

func TestArchivedObjects(t *testing.T) {
	s, glacier := freezing(t)
	for _, key := range []storage.Key{"cold", "deep", "instant", "moves", "warm"} {
		if err := s.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	glacier.Freeze("/bucket/main/cold", "GLACIER")
	glacier.Freeze("/bucket/main/deep", "DEEP_ARCHIVE")
	glacier.Freeze("/bucket/main/moves", "INTELLIGENT_TIERING")
	listed := map[storage.Key]string{}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		listed[info.Key] = info.Archive.Class
		if got, want := info.Archive.Readability(time.Now()), storage.Uncertain; info.Archive.Class != "" && got != want {
			t.Errorf("%s is listed with %v, want %v: HEAD tells", info.Key, got, want)
		}
	}
	if want := map[storage.Key]string{"cold": "GLACIER", "deep": "DEEP_ARCHIVE", "instant": "", "moves": "INTELLIGENT_TIERING", "warm": ""}; !reflect.DeepEqual(listed, want) {
		t.Errorf("listed: got %v, want %v", listed, want)
	}
	stat := func(key storage.Key) storage.Info {
		t.Helper()
		info, err := s.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	readable := func(info storage.Info, days int, want storage.Readability) bool {
		return info.Archive.Readability(time.Now().AddDate(0, 0, days)) == want
	}
	cold := stat("cold")
	if want := (storage.Archive{Class: "GLACIER"}); cold.Archive != want || !readable(cold, 0, storage.Frozen) || !readable(stat("warm"), 0, storage.Readable) || !readable(stat("moves"), 0, storage.Readable) {
		t.Errorf("archived: got %+v, want %+v", cold.Archive, want)
	}
	_, err := storage.ReadAll(t.Context(), s, "cold", 100)
	if !errors.Is(err, storage.ErrArchived) || storage.Retryable(err) || !strings.Contains(err.Error(), "403 InvalidObjectState") {
		t.Errorf("read: got %v, want ErrArchived", err)
	}
	for range 2 { // asked again while it is under way
		if err := storage.ThawObject(t.Context(), s, cold, storage.Thaw{Days: 3, Tier: storage.ThawBulk}); err != nil {
			t.Fatal(err)
		}
	}
	if body := glacier.Asked()["/bucket/main/cold"]; !strings.Contains(body, "<Days>3</Days>") || !strings.Contains(body, "<Tier>Bulk</Tier>") {
		t.Errorf("asked: got %s", body)
	}
	if a := stat("cold").Archive; !a.Asked || !readable(stat("cold"), 0, storage.Frozen) {
		t.Errorf("under way: got %+v", a)
	}
	glacier.Finish()
	if got := stat("cold"); got.Archive.Asked || !readable(got, 3, storage.Readable) || !readable(got, 5, storage.Frozen) {
		t.Errorf("thawed for three days: got %+v", got.Archive)
	}
	if b, err := storage.ReadAll(t.Context(), s, "cold", 100); err != nil || string(b) != "cold" {
		t.Errorf("read thawed: got %q, %v", b, err)
	}
	if err := storage.ThawObject(t.Context(), s, stat("cold"), storage.Thaw{Days: 9, Tier: storage.ThawBulk}); err != nil || !readable(stat("cold"), 8, storage.Readable) {
		t.Errorf("asked for nine days more: got %+v, %v", stat("cold").Archive, err)
	}
	if err := storage.ThawObject(t.Context(), s, stat("warm"), storage.Thaw{Days: 1, Tier: storage.ThawStandard}); err != nil {
		t.Errorf("thaw what is not archived: %v", err)
	}
}

// What was deleted lies where it lay: an archived version is not to be had before it is thawed.
func TestArchivedVersions(t *testing.T) {
	s, glacier := freezing(t)
	if err := s.Put(t.Context(), "cold", []byte("cold")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "cold"); err != nil {
		t.Fatal(err)
	}
	glacier.Freeze("/bucket/main/cold", "GLACIER")
	var version storage.Info
	for v, err := range storage.Versions(t.Context(), s, "cold", "") {
		if err != nil {
			t.Fatal(err)
		}
		if !v.Marker {
			version = v.Info
		}
	}
	if version.Archive.Class != "GLACIER" || version.Archive.Readability(time.Now()) != storage.Uncertain {
		t.Errorf("listed: got %+v", version)
	}
	stat := func(want storage.Readability) {
		t.Helper()
		if got, err := storage.StatVersion(t.Context(), s, version); err != nil || got.Size != 4 || got.Version != version.Version || got.Archive.Readability(time.Now()) != want {
			t.Errorf("got %+v, %v, want %v", got, err, want)
		}
	}
	stat(storage.Frozen)
	if _, err := storage.GetVersion(t.Context(), s, version, storage.All()); !errors.Is(err, storage.ErrArchived) {
		t.Errorf("read: got %v, want ErrArchived", err)
	}
	if err := storage.ThawObject(t.Context(), s, version, storage.Thaw{Days: 1, Tier: storage.ThawStandard}); err != nil {
		t.Fatal(err)
	}
	glacier.Finish()
	stat(storage.Readable)
	body, err := storage.GetVersion(t.Context(), s, version, storage.All())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); err != nil || string(got) != "cold" || body.Close() != nil {
		t.Errorf("read thawed: got %q, %v", got, err)
	}
}

func TestLifecycleRules(t *testing.T) {
	s, glacier := freezing(t)
	if rules, err := storage.BucketLifecycle(t.Context(), s); err != nil || len(rules) != 0 {
		t.Errorf("none: got %v, %v", rules, err)
	}
	// The documented form: https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configuration-examples.html
	glacier.SetLifecycle(`
<Rule><ID>all</ID><Filter></Filter><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>
<NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>
<Rule><ID>packs</ID><Filter><And><Prefix>main/7/backups/</Prefix><ObjectSizeGreaterThan>1048576</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status>
<Transition><Days>60</Days><StorageClass>GLACIER</StorageClass></Transition><Transition><Days>180</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition></Rule>
<Rule><ID>old</ID><Prefix>ma</Prefix><Status>Disabled</Status><Transition><Date>2027-01-01T00:00:00.000Z</Date><StorageClass>STANDARD_IA</StorageClass></Transition><Expiration><Days>90</Days></Expiration></Rule>
<Rule><ID>both</ID><Filter><Prefix>main/</Prefix></Filter><Status>Enabled</Status><Transition><Days>0</Days><StorageClass>GLACIER</StorageClass></Transition>
<NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays><StorageClass>DEEP_ARCHIVE</StorageClass></NoncurrentVersionTransition><Expiration><Days>31</Days></Expiration></Rule>
<Rule><ID>small</ID><Filter><And><Prefix>main/</Prefix><ObjectSizeLessThan>1000</ObjectSizeLessThan></And></Filter><Status>Enabled</Status><Transition><Days>5</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>
<Rule><ID>tag</ID><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>other</ID><Filter><Prefix>other/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>`)
	days := func(n int) storage.Age { return storage.Age{Days: n} }
	until := func(n int) *storage.Age { return &storage.Age{Days: n} }
	const floor = 128<<10 - 1 // of what Amazon moves; a rule that removes as well removes what is smaller too
	want := []storage.LifecycleRule{
		{ID: "all", Enabled: true, UploadDays: 7, OlderDays: 30, Markers: true},
		{ID: "packs", Enabled: true, Prefix: "7/backups/", Larger: 1 << 20, Moves: []storage.LifecycleMove{
			{After: days(60), Class: "GLACIER", Archive: true}, {After: days(180), Class: "DEEP_ARCHIVE", Archive: true},
		}},
		{ID: "old", Expires: until(90), Markers: true, Moves: []storage.LifecycleMove{
			{After: storage.Age{On: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, Class: "STANDARD_IA", Larger: floor},
		}},
		{
			ID: "both", Enabled: true, Expires: until(31), Markers: true, Moves: []storage.LifecycleMove{{Class: "GLACIER", Archive: true, Larger: floor}},
			OlderMoves: []storage.LifecycleMove{{After: days(1), Class: "DEEP_ARCHIVE", Archive: true, Larger: floor}},
		},
		{ID: "small", Enabled: true, Smaller: 1000, Moves: []storage.LifecycleMove{{After: days(5), Class: "GLACIER", Archive: true}}},
		{ID: "tag", Enabled: true, Tagged: true, Expires: until(1), Markers: true},
	}
	got, err := storage.BucketLifecycle(t.Context(), s)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	// By the older default of Amazon small objects go to the archives, and to no other class; other stores have no such thing.
	for least, want := range map[string][2]int64{"varies_by_storage_class": {0, floor}, "": {0, 0}} {
		glacier.SetLeastMoved(least)
		got, err := storage.BucketLifecycle(t.Context(), s)
		if err != nil || len(got) != 6 || got[3].Moves[0].Larger != want[0] || got[2].Moves[0].Larger != want[1] {
			t.Errorf("least size %q: got %+v, %v", least, got, err)
		}
	}
}

func TestLifecycleUnknownToTheStore(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	if _, err := open(t, server.URL("bucket", "main")).Lifecycle(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}

func TestLifecycleConfiguration(t *testing.T) {
	options, err := s3.ParseURL("s3://bucket/main?region=eu-west-1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(options.Lifecycle([]storage.LifecycleRule{
		{ID: "clean", UploadDays: 7, OlderDays: 15, Markers: true},
		{ID: "packs", Prefix: "7/backups/", Larger: 1 << 20, Moves: []storage.LifecycleMove{{After: storage.Age{Days: 60}, Class: "GLACIER", Archive: true}}},
	}), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "Rules": [
  {
   "ID": "clean",
   "Status": "Enabled",
   "Filter": {
    "Prefix": "main/"
   },
   "Expiration": {
    "ExpiredObjectDeleteMarker": true
   },
   "NoncurrentVersionExpiration": {
    "NoncurrentDays": 15
   },
   "AbortIncompleteMultipartUpload": {
    "DaysAfterInitiation": 7
   }
  },
  {
   "ID": "packs",
   "Status": "Enabled",
   "Filter": {
    "And": {
     "Prefix": "main/7/backups/",
     "ObjectSizeGreaterThan": 1048576
    }
   },
   "Transitions": [
    {
     "Days": 60,
     "StorageClass": "GLACIER"
    }
   ]
  }
 ]
}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
