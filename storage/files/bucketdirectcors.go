package files

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const codeNoCORS = "NoSuchCORSConfiguration"

// directMethods are what pages ask of a bucket to send files to it and to fetch them.
var directMethods = []string{"GET", "PUT", "POST"}

// CORS says what the bucket's own rules lack for the pages of an origin to send files straight to
// it, in words; empty for nothing. known is false where the service has no such rules that it tells,
// or the credentials may not see them.
func (b *Bucket) CORS(ctx context.Context, origin string) (lacks string, known bool, err error) {
	c, err := b.client.GetBucketCors(ctx, &s3.GetBucketCorsInput{Bucket: &b.bucket}, once)
	switch {
	case err == nil:
		return corsLacks(c.CORSRules, origin), true, nil
	case hasCode(err, codeNoCORS):
		return corsLacks(nil, origin), true, nil
	case hasCode(err, codeDenied), hasCode(err, codeNotThere), hasCode(err, "MethodNotAllowed"):
		return "", false, nil
	}
	return "", false, fmt.Errorf("ask for the CORS rules: %w", b.explain(err))
}

// corsLacks holds rules against what a page needs. A request is answered by the first rule that fits
// its origin and its method.
func corsLacks(rules []types.CORSRule, origin string) string {
	var missing []string
	for _, method := range directMethods {
		i := slices.IndexFunc(rules, func(r types.CORSRule) bool {
			return anyMatches(r.AllowedOrigins, origin) && slices.Contains(r.AllowedMethods, method)
		})
		switch {
		case i < 0:
			missing = append(missing, "a rule for "+method)
		case method == "PUT" && !hasFold(rules[i].ExposeHeaders, "ETag"):
			missing = append(missing, "ETag among the ExposeHeaders for PUT")
		case method == "PUT" && !anyMatches(rules[i].AllowedHeaders, "x-amz-checksum-sha256"):
			missing = append(missing, "x-amz-checksum-* (or *) among the AllowedHeaders for PUT")
		}
	}
	return strings.Join(missing, ", ")
}

// anyMatches reports whether one of the patterns, with * for anything, is that of the text.
func anyMatches(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		before, after, star := strings.Cut(strings.ToLower(pattern), "*")
		if !star {
			return before == text
		}
		return len(text) >= len(before)+len(after) && strings.HasPrefix(text, before) && strings.HasSuffix(text, after)
	})
}

func hasFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(one string) bool { return strings.EqualFold(one, name) })
}
