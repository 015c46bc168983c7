package s3

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pgark/pgark/storage"
)

// Access is what a credential may do with the objects of a store, all of which it may read and list. Patterns are of keys; an asterisk
// stands for any bytes. The zero value reads alone.
type Access struct {
	// Create are the objects that it may create where there is none.
	Create []string
	// Replace says that it may also put a new version over an object, as Supersede does.
	Replace bool
	// Delete are the objects that it may delete. Their older versions it may not, without OlderDelete.
	Delete []string
	// OlderDelete says that it may also remove all versions of these for good, which it finds by Versions and GetVersion.
	OlderDelete bool
	// Uploads says that it may list and end the uploads of all others, as StaleUploads and DropUpload do. The list names the whole bucket's.
	Uploads bool
	// Lifecycle says that it may ask by which rules the bucket moves and removes objects, as Lifecycle does.
	Lifecycle bool
	// Replication says that it may ask what the bucket replicates, as Replication does.
	Replication bool
	// Lock is that of the objects, if they have one: all may see whether the bucket gives it by itself.
	Lock storage.Lock
	// SendLock says that it may create objects with that lock, where the bucket does not give it by itself.
	SendLock bool
	// ExtendLock says that it may make the locks of all objects longer, as Extend does.
	ExtendLock bool
	// Versioning says that it may ask whether the bucket keeps versions, as Versioning does.
	Versioning bool
	// Older says that it may list and read older versions and what was deleted, as Versions and GetVersion do.
	Older bool
}

// Policy is a policy document. Its JSON is what IAM and PutBucketPolicy take.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
type Policy struct {
	Version   string      `json:"Version"`
	Statement []Statement `json:"Statement"`
}

// Statement is one of a Policy. Conditions are values by operator and key; all must hold.
type Statement struct {
	Sid       string                       `json:"Sid"`
	Effect    string                       `json:"Effect"`
	Principal string                       `json:"Principal,omitempty"`
	Action    []string                     `json:"Action"`
	Resource  []string                     `json:"Resource"`
	Condition map[string]map[string]string `json:"Condition,omitempty"`
}

const (
	policyVersion = "2012-10-17"
	allow         = "Allow"
	deny          = "Deny"
)

// Located returns o with the region and the endpoint that the AWS environment and the shared files give, where o names none. They stay
// empty where nobody names any. It talks to nobody.
func (o Options) Located(ctx context.Context) (Options, error) {
	if err := o.Validate(); err != nil {
		return o, err
	}
	conf, err := config.LoadDefaultConfig(ctx, o.load()...)
	if err != nil {
		return o, fmt.Errorf("open %s: load the AWS configuration: %w", o.place(), err)
	}
	found := s3.NewFromConfig(conf, (&Store{options: o}).configure).Options()
	o.Region, o.Endpoint = found.Region, aws.ToString(found.BaseEndpoint)
	return o, nil
}

// IdentityPolicy is the least that a role or a user needs for the access, with denials that hold whatever else is attached to it. The
// permissions that each call needs: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
func (o Options) IdentityPolicy(a Access) Policy {
	p := Policy{Version: policyVersion}
	p.add(Statement{Sid: "Read", Effect: allow, Action: []string{"s3:GetObject"}, Resource: o.objects("*")})
	list := Statement{Sid: "List", Effect: allow, Action: []string{"s3:ListBucket"}, Resource: []string{o.arn()}}
	if o.Prefix != "" {
		list.Condition = map[string]map[string]string{"StringLike": {"s3:prefix": literal(o.Prefix) + "/*"}}
	}
	p.add(list)
	if a.Older || a.OlderDelete || a.ExtendLock { // locks are made longer of what was put over, too
		older := list // the prefix is a condition of both lists
		older.Sid, older.Action = "ListVersions", []string{"s3:ListBucketVersions"}
		p.add(older)
	}
	if a.Older || a.OlderDelete {
		p.add(Statement{Sid: "ReadVersions", Effect: allow, Action: []string{"s3:GetObjectVersion"}, Resource: o.objects("*")})
	}
	if len(a.Create) > 0 {
		p.add(Statement{Sid: "Create", Effect: allow, Action: []string{"s3:PutObject", "s3:AbortMultipartUpload"}, Resource: o.objects(a.Create...)})
	}
	if a.Uploads {
		p.add(Statement{Sid: "Uploads", Effect: allow, Action: []string{"s3:ListBucketMultipartUploads"}, Resource: []string{o.arn()}})
		p.add(Statement{Sid: "EndUploads", Effect: allow, Action: []string{"s3:AbortMultipartUpload"}, Resource: o.objects("*")})
	}
	if len(a.Delete) > 0 {
		remove := Statement{Sid: "Delete", Effect: allow, Action: []string{"s3:DeleteObject"}, Resource: o.objects(a.Delete...)}
		if a.OlderDelete {
			remove.Action = append(remove.Action, "s3:DeleteObjectVersion")
		}
		p.add(remove)
	}
	if a.SendLock || a.ExtendLock {
		p.lock(o, a)
	}
	if settings := a.settings(); len(settings) > 0 {
		p.add(Statement{Sid: "Settings", Effect: allow, Action: settings, Resource: []string{o.arn()}})
	}
	if o.KMSKeyID != "" {
		p.add(o.key(a))
	}
	if len(a.Create) > 0 && !a.Replace && o.AtAmazon() {
		p.add(o.createOnly())
	}
	p.add(Statement{Sid: "NeverDestroy", Effect: deny, Action: a.destruction(), Resource: append([]string{o.arn()}, o.objects("*")...)})
	return p
}

// BucketPolicy refuses, to whoever asks, what would harm a repository: requests that are not encrypted on their way, and objects encrypted
// with a key that the request brings, which nobody else could read. It grants nothing.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
func (o Options) BucketPolicy() Policy {
	p := Policy{Version: policyVersion}
	if !o.PlainHTTP() {
		p.add(Statement{
			Sid: "OnlyTLS", Effect: deny, Principal: "*", Action: []string{"s3:*"}, Resource: []string{o.arn(), o.arn() + "/*"},
			Condition: map[string]map[string]string{"Bool": {"aws:SecureTransport": "false"}},
		})
	}
	p.add(Statement{
		Sid: "NoCustomerKeys", Effect: deny, Principal: "*", Action: []string{"s3:PutObject"}, Resource: o.objects("*"),
		Condition: map[string]map[string]string{"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
	})
	return p
}

// PlainHTTP tells whether the store is reached without TLS.
func (o Options) PlainHTTP() bool { return strings.HasPrefix(o.Endpoint, "http://") }

// AtAmazon reports whether the store is Amazon's, as far as o says.
func (o Options) AtAmazon() bool { return o.Endpoint == "" || isAmazon(o.Endpoint) }

func (p *Policy) add(s Statement) { p.Statement = append(p.Statement, s) }

// lock grants what it takes to lock an object for as long as a.Lock says, and refuses whatever is longer: a lock cannot be taken back, and what is
// locked for a hundred years is paid for. No lock can be made shorter with this; that would take s3:BypassGovernanceRetention.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html#object-lock-managing-retention-limits
func (p *Policy) lock(o Options, a Access) {
	const remaining, day = "s3:object-lock-remaining-retention-days", 24 * time.Hour
	most := strconv.Itoa(int((a.Lock.For+day-1)/day) + 1) // the end is rounded to the next second, and days may be begun ones
	grant := Statement{
		Sid: "Lock", Effect: allow, Action: []string{"s3:PutObjectRetention"}, Resource: o.objects(a.Create...),
		Condition: map[string]map[string]string{"NumericLessThanEquals": {remaining: most}},
	}
	if a.ExtendLock {
		grant.Resource = o.objects("*")
	}
	p.add(Statement{Sid: "SeeLocks", Effect: allow, Action: []string{"s3:GetObjectRetention"}, Resource: o.objects("*")})
	if a.Lock.Mode == storage.Governance { // of the other mode nobody could ever end one
		grant.Condition["StringEquals"] = map[string]string{"s3:object-lock-mode": "GOVERNANCE"}
	}
	p.add(grant)
	p.add(Statement{
		Sid: "NeverLonger", Effect: deny, Action: []string{"s3:PutObjectRetention"}, Resource: o.objects("*"),
		Condition: map[string]map[string]string{"NumericGreaterThan": {remaining: most}},
	})
}

// LockCommands are the commands by which the owner of the bucket turns Object Lock on and has the bucket lock every new object by itself, in whole
// days. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-configure.html
func (o Options) LockCommands(l storage.Lock) []string {
	const day = 24 * time.Hour
	at := "--bucket " + o.Bucket
	if o.Endpoint != "" {
		at += " --endpoint-url " + o.Endpoint
	}
	return []string{
		"aws s3api put-bucket-versioning " + at + " --versioning-configuration Status=Enabled",
		fmt.Sprintf(`aws s3api put-object-lock-configuration %s --object-lock-configuration '{"ObjectLockEnabled":"Enabled","Rule":{"DefaultRetention":{"Mode":"%s","Days":%d}}}'`,
			at, modeOf(l.Mode), (l.For+day-1)/day),
	}
}

// settings are the actions on the bucket's own settings that Supersede, Versioning, Replication, BucketLock and reading older versions need.
func (a Access) settings() []string {
	var actions []string
	if !a.Lock.IsZero() {
		actions = append(actions, "s3:GetBucketObjectLockConfiguration")
	}
	if a.Replace || a.Replication || a.Versioning || a.Older { // what is read as it was says then whether some of that may be missing
		actions = append(actions, "s3:GetBucketVersioning")
	}
	if a.Replication {
		actions = append(actions, "s3:GetReplicationConfiguration")
	}
	if a.Lifecycle {
		actions = append(actions, "s3:GetLifecycleConfiguration")
	}
	return actions
}

// createOnly refuses to put over an object. The parts of an upload bear no condition; its end does.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
func (o Options) createOnly() Statement {
	return Statement{
		Sid: "CreateOnly", Effect: deny, Action: []string{"s3:PutObject"}, Resource: o.objects("*"),
		Condition: map[string]map[string]string{"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}},
	}
}

// destruction are the actions that lose objects, their versions or what protects them, and that are not part of the access.
func (a Access) destruction() []string {
	actions := []string{
		"s3:DeleteObjectVersion", "s3:PutObjectRetention", "s3:PutObjectLegalHold", "s3:BypassGovernanceRetention",
		"s3:PutLifecycleConfiguration", "s3:PutReplicationConfiguration", "s3:PutEncryptionConfiguration", "s3:PutBucket*", "s3:DeleteBucket*",
	}
	if a.SendLock || a.ExtendLock {
		actions = slices.DeleteFunc(actions, func(action string) bool { return action == "s3:PutObjectRetention" })
	}
	if a.OlderDelete {
		actions = slices.DeleteFunc(actions, func(action string) bool { return action == "s3:DeleteObjectVersion" })
	}
	if len(a.Delete) == 0 {
		actions = append([]string{"s3:DeleteObject"}, actions...)
	}
	return actions
}

// key grants the use of the KMS key that the URL names, through S3 alone. An upload in parts needs Decrypt as well.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
func (o Options) key(a Access) Statement {
	region, account := "*", "*"
	if o.Region != "" {
		region = o.Region
	}
	if parts := strings.Split(o.Role, ":"); len(parts) > 4 && parts[4] != "" {
		account = parts[4]
	}
	root := "arn:" + o.partition() + ":kms:" + region + ":" + account + ":key/"
	service := "s3." + region + ".amazonaws.com"
	if o.partition() == "aws-cn" {
		service += ".cn"
	}
	s := Statement{
		Sid: "Key", Effect: allow, Action: []string{"kms:Decrypt"}, Condition: map[string]map[string]string{"StringLike": {"kms:ViaService": service}},
	}
	if len(a.Create) > 0 {
		s.Action = append(s.Action, "kms:GenerateDataKey")
	}
	alias := o.KMSKeyID[strings.LastIndexByte(o.KMSKeyID, ':')+1:]
	switch {
	case strings.HasPrefix(alias, "alias/"): // a policy's resource is a key, never an alias
		s.Resource = []string{root + "*"}
		s.Condition["ForAnyValue:StringEquals"] = map[string]string{"kms:ResourceAliases": alias}
	case strings.HasPrefix(o.KMSKeyID, "arn:"):
		s.Resource = []string{o.KMSKeyID}
	default:
		s.Resource = []string{root + o.KMSKeyID}
	}
	return s
}

// arn is the bucket's.
func (o Options) arn() string { return "arn:" + o.partition() + ":s3:::" + o.Bucket }

// objects are the ARNs of keys.
func (o Options) objects(patterns ...string) []string {
	root := o.arn() + "/"
	if o.Prefix != "" {
		root += literal(o.Prefix) + "/"
	}
	arns := make([]string, 0, len(patterns))
	for _, p := range patterns {
		arns = append(arns, root+p)
	}
	return arns
}

// partition is the part of Amazon's world that the region lies in; other stores use the first one's name.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
func (o Options) partition() string {
	for _, p := range []struct{ region, partition string }{
		{"cn-", "aws-cn"},
		{"us-gov-", "aws-us-gov"},
		{"us-isob-", "aws-iso-b"},
		{"us-isof-", "aws-iso-f"},
		{"eu-isoe-", "aws-iso-e"},
		{"us-iso-", "aws-iso"},
		{"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(o.Region, p.region) && o.AtAmazon() {
			return p.partition
		}
	}
	return "aws"
}

// literal writes a prefix so that none of its bytes stands for others.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func literal(s string) string {
	return strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}").Replace(s)
}
