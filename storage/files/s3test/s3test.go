// Package s3test starts a real server that speaks S3, Versity's gateway over a folder, for tests.
//
// It owns the program (installed once, into the user's cache folder), the process (one for a test
// binary, which ends with it) and the buckets, one for each test. What is in a bucket can be found
// on disk, so that a test can spoil it: see [Server.ObjectPath]. Left to others: all clients.
//
// A folder has its limits: the keys "a" and "a/b" cannot both be there.
package s3test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Server is a running server.
type Server struct {
	// Endpoint is its URL, plain HTTP on the loopback interface.
	Endpoint string
	// Region is what requests must be signed for.
	Region string
	// AccessKey and SecretKey are of its only user, who may do all.
	AccessKey, SecretKey string

	gateway *gateway
}

// shared is the process that all tests of this binary use, while there are any.
var shared struct {
	mu    sync.Mutex
	users int
	*Server
}

// Start returns the server of this test binary, which it starts for the first of several tests at
// a time and which ends with the last.
func Start(t testing.TB) *Server {
	t.Helper()
	program := installed(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.users == 0 {
		server := &Server{Region: "us-east-1", AccessKey: "longhaul-test", SecretKey: rand.Text()}
		gateway, err := startGateway(program, server)
		if err != nil {
			t.Fatalf("s3test: start versitygw: %v", err)
		}
		server.gateway, server.Endpoint = gateway, gateway.endpoint
		shared.Server = server
	}
	shared.users++
	t.Cleanup(release)
	return shared.Server
}

func release() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.users--; shared.users == 0 {
		shared.gateway.stop()
		shared.Server = nil
	}
}

// NewBucket makes a bucket and returns its name.
func (s *Server) NewBucket(t testing.TB) string {
	t.Helper()
	bucket := "test-" + strings.ToLower(rand.Text())
	client := s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: s.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatalf("s3test: create a bucket: %v", err)
	}
	return bucket
}

// URL is how Longhaul is told of a bucket. The credentials are not in it; see [Server.Env].
func (s *Server) URL(bucket string) string {
	query := url.Values{"endpoint": {s.Endpoint}, "region": {s.Region}, "path_style": {"true"}}
	return fmt.Sprintf("s3://%s?%s", bucket, query.Encode())
}

// Env is the credentials as environment variables of another process, NAME=value.
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
}

// ObjectPath is the file with the bytes of an object.
func (s *Server) ObjectPath(bucket, key string) string {
	return filepath.Join(s.gateway.data, bucket, filepath.FromSlash(key))
}
