package files

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// BucketConfig says where a [Bucket] is.
type BucketConfig struct {
	Bucket string
	// Prefix is the folder in the bucket that holds all files; empty for the bucket itself.
	Prefix string
	// Endpoint is the URL of the service, empty for Amazon's. Plain HTTP is for this machine alone.
	Endpoint string
	// Region is what requests are signed for. Where it is empty, the environment or the profile
	// tells, and else it is us-east-1 for an endpoint that is not Amazon's.
	Region string
	// PathStyle puts the bucket's name into the path and not in front of the host's name.
	PathStyle bool
	// Credentials, where not nil, take the place of Amazon's chain: environment, profile, the role
	// of the machine or the container.
	Credentials aws.CredentialsProvider
}

// ParseBucketURL reads what LONGHAUL_STORAGE_URL says of a bucket, such as
// s3://bucket/prefix?endpoint=https://s3.example.com&region=eu-central-1&path_style=true. Secrets
// are not in it. Its errors do not repeat the URL.
func ParseBucketURL(raw string) (BucketConfig, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The reason would repeat a part of it, which may be a secret in the wrong place.
		return BucketConfig{}, errors.New("the bucket's URL is not a URL such as s3://bucket/folder?region=eu-central-1")
	}
	switch {
	case u.Scheme != "s3" || u.Opaque != "":
		return BucketConfig{}, errors.New("the bucket's URL must begin with s3://")
	case u.User != nil:
		return BucketConfig{}, errors.New("the bucket's URL must not hold credentials: put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, into a profile, or use the machine's role")
	case u.Fragment != "":
		return BucketConfig{}, errors.New("the bucket's URL must not have a part behind #")
	}
	c := BucketConfig{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if err := c.readQuery(u.RawQuery); err != nil {
		return BucketConfig{}, err
	}
	return c, c.check()
}

func (c *BucketConfig) readQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("what stands behind ? in the bucket's URL is not name=value&name=value")
	}
	for name, values := range query {
		switch name {
		case "endpoint":
			c.Endpoint = values[0]
		case "region":
			c.Region = values[0]
		case "path_style":
			if c.PathStyle, err = strconv.ParseBool(values[0]); err != nil {
				return errors.New("path_style in the bucket's URL must be true or false")
			}
		default:
			return fmt.Errorf("the bucket's URL has %.50q, which is not known; known are endpoint, region and path_style", name)
		}
		if len(values) > 1 {
			return fmt.Errorf("the bucket's URL has %s more than once", name)
		}
	}
	return nil
}

func (c *BucketConfig) check() error {
	if !plainBucketName(c.Bucket) {
		return fmt.Errorf("%.100q cannot be the name of a bucket: it has 3 to 255 letters, digits, dots, hyphens and underscores", c.Bucket)
	}
	if c.Prefix != "" {
		if err := CheckKey(c.Prefix); err != nil {
			return fmt.Errorf("the folder in the bucket: %w", err)
		}
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme):
		return errors.New("the bucket's endpoint must be a URL that begins with https://")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the bucket's endpoint must have no credentials, no ? and no #")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("the bucket's endpoint must begin with https://: plain http:// is for this machine alone (127.0.0.1, ::1, localhost)")
	}
	return nil
}

// plainBucketName reports whether name has what names of buckets are made of, also old ones of
// Amazon's first region. The service itself knows the finer rules.
func plainBucketName(name string) bool {
	foreign := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r)
	}
	return len(name) >= 3 && len(name) <= 255 && !strings.ContainsFunc(name, foreign)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
