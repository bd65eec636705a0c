package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"longhaul/storage/files/s3test"
	"longhaul/storage/storagetest"
)

// wantLines checks that each text is in a line of the output that begins so.
func wantLines(t *testing.T, text string, want map[string]string) {
	t.Helper()
	for words, how := range want {
		found := false
		for line := range strings.Lines(text) {
			found = found || strings.HasPrefix(line, how) && strings.Contains(line, words)
		}
		if !found {
			t.Errorf("no line %q says %q:\n%s", how, words, text)
		}
	}
}

// TestDoctorBefore looks at a machine on which nothing has run yet, and leaves it so.
func TestDoctorBefore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	text, err := output(t, "doctor", "--data="+dir)
	if err != nil {
		t.Error(err)
	}
	wantLines(t, text, map[string]string{"settings": "ok", "data folder": "warning", "no private Postgres": "warning", "uploads is not there yet": "warning"})
	if _, err := os.Stat(dir); err == nil {
		t.Error("it made the data folder")
	}
}

// TestDoctorBucket looks at a server with a bucket, without rules at first.
func TestDoctorBucket(t *testing.T) {
	server := s3test.Start(t)
	for _, variable := range server.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	bucket := server.NewBucket(t)
	_, database := storagetest.DB(t)
	args := []string{
		"doctor", "--data=" + t.TempDir(), "--database-url=" + database, "--storage-url=" + server.URL(bucket+"/folder"),
		"--public-url=https://longhaul.example.com", "--cors-origins=https://finance.example.com",
	}
	text, err := output(t, args...)
	if err != nil {
		t.Error(err)
	}
	wantLines(t, text, map[string]string{
		"settings": "ok", "can be written": "ok", "up to date": "ok", "written, read and removed": "ok", "may do all": "ok",
		"the bucket's and this machine's": "ok", "the database's and this machine's": "ok", "left-over parts": "warning",
		"pages of https://longhaul.example.com cannot": "warning", "pages of https://finance.example.com cannot": "warning",
	})
	client := s3.New(s3.Options{
		BaseEndpoint: &server.Endpoint, Region: server.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(server.AccessKey, server.SecretKey, ""),
	})
	_, err = client.PutBucketCors(t.Context(), &s3.PutBucketCorsInput{Bucket: &bucket, CORSConfiguration: &types.CORSConfiguration{
		CORSRules: []types.CORSRule{{
			AllowedOrigins: []string{"https://longhaul.example.com"}, AllowedMethods: []string{"GET", "PUT", "POST"},
			AllowedHeaders: []string{"*"}, ExposeHeaders: []string{"ETag"},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	text, err = output(t, args...)
	if err != nil {
		t.Error(err)
	}
	wantLines(t, text, map[string]string{"pages of https://longhaul.example.com can send": "ok", "pages of https://finance.example.com cannot": "warning"})
	left, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil || len(left.Contents) > 0 {
		t.Errorf("%d objects were left, %v", len(left.Contents), err)
	}
}

// TestDoctorProblems finds what is wrong, all of it, and fails.
func TestDoctorProblems(t *testing.T) {
	server := s3test.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", server.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong, and kept to itself")
	text, err := output(t, "doctor", "--data="+t.TempDir(), "--workers=0", "--database-url=postgres://x:hunter2@127.0.0.1:1/x",
		"--storage-url="+server.URL(server.NewBucket(t)))
	if err == nil || !strings.Contains(err.Error(), "problems: 3") {
		t.Errorf("error %v", err)
	}
	wantLines(t, text, map[string]string{"LONGHAUL_WORKERS": "problem", "database": "problem", "secret key does not fit": "problem"})
	if strings.Contains(text, "hunter2") || strings.Contains(text, "kept to itself") {
		t.Errorf("it shows a secret:\n%s", text)
	}
}
