package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"longhaul/storage/files"
)

// bucketScheme begins the storage URL of a bucket; anything else is a folder.
const bucketScheme = "s3://"

// validateStorage reports what is wrong with the storage URL, without the URL: it may hold a
// password where it should not.
func (s *serveSettings) validateStorage() error {
	if !strings.Contains(s.StorageURL, "://") {
		return nil
	}
	if !strings.HasPrefix(s.StorageURL, bucketScheme) {
		return errors.New("LONGHAUL_STORAGE_URL is an address of a sort that is not known; give the path of a folder, or s3://bucket")
	}
	if _, err := files.ParseBucketURL(s.StorageURL); err != nil {
		return fmt.Errorf("LONGHAUL_STORAGE_URL: %w", err)
	}
	return nil
}

// openStorage opens the folder or the bucket that keeps the files. A bucket is asked for, so that
// what is wrong with it is told at the start.
func (s *serveSettings) openStorage(ctx context.Context, data string) (files.Store, error) {
	switch {
	case s.StorageURL == "":
		return files.OpenFolder(filepath.Join(data, "uploads"))
	case !strings.HasPrefix(s.StorageURL, bucketScheme):
		return files.OpenFolder(s.StorageURL)
	}
	config, err := files.ParseBucketURL(s.StorageURL)
	if err != nil {
		return nil, fmt.Errorf("LONGHAUL_STORAGE_URL: %w", err)
	}
	bucket, err := files.OpenBucket(ctx, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := bucket.Check(ctx); err != nil {
		return nil, errors.Join(err, bucket.Close())
	}
	return bucket, nil
}

// checkEvery is how often the storage is asked at most: anyone may ask whether the server is ready.
const checkEvery = 10 * time.Second

// storageCheck remembers for a while whether the storage works.
type storageCheck struct {
	store files.Store

	mu      sync.Mutex
	at      time.Time
	err     error
	warning string
}

// ask reports why the storage does not work, or nil, and what should be changed about it.
func (c *storageCheck) ask(ctx context.Context) (warning string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > checkEvery {
		c.err = c.store.Check(ctx)
		if bucket, ok := c.store.(*files.Bucket); ok && c.err == nil {
			c.warning = leftoverWarning(bucket.LeftoverRule(ctx))
		}
		if ctx.Err() == nil {
			c.at = time.Now()
		}
	}
	return c.warning, c.err
}

// leftoverWarning says what is missing where nothing removes the parts of uploads that broke off.
func leftoverWarning(days int, known bool, err error) string {
	switch {
	case err != nil || !known:
		return ""
	case days == 0:
		return "no life-cycle rule of the bucket aborts incomplete multipart uploads: what broke off stays and is paid for; see Object storage in docs/operations.md"
	}
	return ""
}
