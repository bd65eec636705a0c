package main

import (
	"strings"
	"testing"

	"longhaul/storage/files"
	"longhaul/storage/files/s3test"
)

func TestStorageURL(t *testing.T) {
	t.Parallel()
	for url, good := range map[string]bool{
		"": true, "/srv/files": true, "files": true, "s3://bucket": true, "s3://bucket/a/b?region=eu-central-1": true,
		"s3://bucket?endpoint=http://127.0.0.1:7070&path_style=true": true,
		"https://bucket.s3.amazonaws.com":                            false, "gs://bucket": false, "s3://key:secret@bucket": false,
		"s3://bucket?endpoint=http://s3.example.com": false, "s3://bucket?acl=public": false,
	} {
		s := serveSettings{StorageURL: url}
		if err := s.validateStorage(); (err == nil) != good {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestStorageIsAskedFor opens a bucket that is there, and one that is not.
func TestStorageIsAskedFor(t *testing.T) {
	server := s3test.Start(t)
	for _, variable := range server.Env() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	s := serveSettings{StorageURL: server.URL(server.NewBucket(t))}
	store, err := s.openStorage(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, isBucket := store.(*files.Bucket); !isBucket {
		t.Errorf("opened a %T", store)
	}
	check := storageCheck{store: store}
	if _, err := check.ask(t.Context()); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	s.StorageURL = server.URL("missing")
	if _, err := s.openStorage(t.Context(), t.TempDir()); err == nil {
		t.Error("a bucket that is not there was opened")
	}
}

func TestLeftoverWarning(t *testing.T) {
	t.Parallel()
	if leftoverWarning(0, true, nil) == "" {
		t.Error("a bucket without a rule gives no warning")
	}
	for _, w := range []string{leftoverWarning(8, true, nil), leftoverWarning(0, false, nil)} {
		if w != "" {
			t.Errorf("got %q", w)
		}
	}
}
