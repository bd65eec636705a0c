package files

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Check implements [Store]: it asks for the first name in the bucket, which proves that the service
// is there, that it knows the credentials, and that there is such a bucket.
func (b *Bucket) Check(ctx context.Context) error {
	if _, err := b.client.Options().Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("no credentials for bucket %s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or use the machine's role: %w", b.bucket, err)
	}
	_, err := b.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &b.bucket, Prefix: aws.String(folderName(b.prefix)), MaxKeys: aws.Int32(1),
	}, once)
	return b.explain(err)
}

// once has a request sent once only: who checks wants to know now.
func once(o *s3.Options) { o.RetryMaxAttempts = 1 }

// LeftoverRule says after how many days the bucket removes the parts of uploads that nobody went on
// with, by a rule of its own (AbortIncompleteMultipartUpload); 0 for never. known is false where the
// service has no such rules or the credentials may not see them.
func (b *Bucket) LeftoverRule(ctx context.Context) (days int, known bool, err error) {
	c, err := b.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &b.bucket}, once)
	switch {
	case err == nil:
		return leftoverDays(c.Rules, folderName(b.prefix)), true, nil
	case hasCode(err, codeNoLifecycle):
		return 0, true, nil
	case hasCode(err, codeDenied), hasCode(err, codeNotThere), hasCode(err, "MethodNotAllowed"):
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("ask for the life-cycle rules: %w", b.explain(err))
}

// leftoverDays is the least number of days of the rules that are for all objects in the folder.
func leftoverDays(rules []types.LifecycleRule, folder string) int {
	days := 0
	for _, rule := range rules {
		prefix, plain := rulePrefix(rule)
		if rule.Status != types.ExpirationStatusEnabled || !plain || !strings.HasPrefix(folder, prefix) || rule.AbortIncompleteMultipartUpload == nil {
			continue
		}
		if after := int(aws.ToInt32(rule.AbortIncompleteMultipartUpload.DaysAfterInitiation)); after > 0 && (days == 0 || after < days) {
			days = after
		}
	}
	return days
}

// rulePrefix is what a rule's objects begin with; not plain when there are other conditions.
func rulePrefix(rule types.LifecycleRule) (prefix string, plain bool) {
	f := rule.Filter
	if f == nil {
		return aws.ToString(rule.Prefix), true //nolint:staticcheck // SA1019: rules of old have it
	}
	plain = f.And == nil && f.Tag == nil && f.ObjectSizeGreaterThan == nil && f.ObjectSizeLessThan == nil
	return aws.ToString(f.Prefix), plain
}
