package pgserver

import (
	"path/filepath"
	"testing"
)

// A command beside the owner finds the server, and starts none where there is none.
func TestRunningURL(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortTempDir(t), "postgres")
	if _, err := RunningURL(dir); err == nil {
		t.Error("a folder that is not there: no error")
	}
	server := start(t, testConfig(t, dir))
	url, err := RunningURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, "URL", url, server.URL())
	stop(t, server)
	_, err = RunningURL(dir)
	checkMessage(t, err, "no PostgreSQL runs in "+dir)
}
