package s3test

import (
	"bufio"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"
)

// victim is set for a process that TestKilled kills.
const victim = "S3TEST_VICTIM"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	t.Parallel()
	s := Start(t)
	bucket, key, text := s.NewBucket(t), "a/b", "some text"
	client := s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: s.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(s.ObjectPath(bucket, key)); err != nil || string(got) != text {
		t.Errorf("got %q, %v; want %q", got, err, text)
	}
	if Start(t) != s {
		t.Error("a second server was started")
	}
}

// TestKilled kills a process with a server: the server and its folder go with it.
func TestKilled(t *testing.T) {
	if os.Getenv(victim) != "" {
		s := Start(t)
		t.Log("folder " + s.gateway.folder)
		time.Sleep(time.Minute) // and is killed
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$", "-test.v")
	cmd.Env = append(os.Environ(), victim+"=1")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var folder string
	for lines := bufio.NewScanner(output); folder == "" && lines.Scan(); {
		_, folder, _ = strings.Cut(lines.Text(), "folder ")
	}
	if _, err := os.Stat(folder); err != nil {
		t.Errorf("before: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // that it was killed
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(folder)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there: %v", folder, err)
		}
	}
}
