package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-isatty"

	"longhaul/storage/archive"
)

// dataSettings say where things are kept; serve and migrate share them.
type dataSettings struct {
	Data        string `env:"LONGHAUL_DATA" placeholder:"DIR" help:"Folder for everything the process keeps on disk. Default: /var/lib/longhaul for root, else longhaul/ in the user's data folder."`
	DatabaseURL string `name:"database-url" env:"LONGHAUL_DATABASE_URL" placeholder:"URL" help:"Postgres to use. Default: a private Postgres under the data folder."`
	LogLevel    string `env:"LONGHAUL_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
}

// dir is the data folder.
func (d *dataSettings) dir() (string, error) {
	if d.Data != "" {
		return filepath.Abs(d.Data)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/longhaul", nil
	}
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no data folder: %w; set LONGHAUL_DATA", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "longhaul"), nil
}

// logger writes text to a terminal and JSON elsewhere.
func (d *dataSettings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(d.LogLevel)) // one of the four that the flag takes
	opts := &slog.HandlerOptions{Level: level}
	if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// serveSettings are the flags of serve.
type serveSettings struct {
	dataSettings   `embed:""`
	keySettings    `embed:""`
	accessSettings `embed:""`
	auditSettings  `embed:""`

	Addr            string `env:"LONGHAUL_ADDR" default:"127.0.0.1:8080" help:"Listen address; port 0 picks one and prints it."`
	StorageURL      string `name:"storage-url" env:"LONGHAUL_STORAGE_URL" placeholder:"DIR" help:"Where uploads and outputs live: a folder, or s3://bucket/folder?endpoint=URL&region=NAME&path_style=true. Default: uploads/ in the data folder."`
	SignedDownloads bool   `env:"LONGHAUL_SIGNED_DOWNLOADS" help:"With a bucket: send downloads there, by addresses that work for five minutes, and do not stream them through."`
	PublicURL       string `name:"public-url" env:"LONGHAUL_PUBLIC_URL" placeholder:"URL" help:"External base URL, for links. Default: from the request."`
	MetricsAddr     string `env:"LONGHAUL_METRICS_ADDR" placeholder:"ADDR" help:"Serve /metrics on its own address, without sign-in. Default: on the main address, signed in."`
	TestKinds       bool   `env:"LONGHAUL_TEST_KINDS" help:"Offer the kinds noop and sleep, for benchmarks and client tests."`
	AllowRemote     bool   `env:"LONGHAUL_ALLOW_REMOTE" help:"In local mode, listen on an address that others can reach although the only sign-in is the admin token."`
	Workers         int    `env:"LONGHAUL_WORKERS" default:"100" help:"How many steps run at once."`

	KeepOutputs     time.Duration `env:"LONGHAUL_KEEP_OUTPUTS" default:"24h" help:"How long outputs are kept after a task's end."`
	KeepFailedInput time.Duration `env:"LONGHAUL_KEEP_FAILED_INPUT" default:"0s" help:"How long the input of a failed or cancelled task is kept, so that it can be retried without sending it again."`
	KeepVersions    time.Duration `env:"LONGHAUL_KEEP_VERSIONS" default:"720h" help:"How long what a file of an app was before it was replaced or deleted is kept."`
	KeepChanges     time.Duration `env:"LONGHAUL_KEEP_CHANGES" default:"720h" help:"How long changes of files stay in the feed; clients that come back later start over."`
	KeepUploads     time.Duration `env:"LONGHAUL_KEEP_UPLOADS" default:"168h" help:"How long an upload is kept after its last byte came."`
	StopTimeout     time.Duration `env:"LONGHAUL_STOP_TIMEOUT" default:"20s" help:"How long steps in hand may take to finish when the process stops; then they are handed back."`

	MaxUpload   int64 `env:"LONGHAUL_MAX_UPLOAD" default:"0" help:"Largest archive or upload that is taken in, in bytes; 0: no limit."`
	PersonQuota int64 `env:"LONGHAUL_PERSON_QUOTA" default:"0" help:"Most bytes of uploads that a person may have unused; 0: no limit."`
	AppQuota    int64 `env:"LONGHAUL_APP_QUOTA" default:"0" help:"Most bytes of uploads that may be unused for an app; 0: no limit."`
	MaxBytes    int64 `env:"LONGHAUL_MAX_BYTES" default:"107374182400" help:"Most bytes an archive may unpack to."`
	MaxEntries  int   `env:"LONGHAUL_MAX_ENTRIES" default:"100000" help:"Most entries an archive may have."`
	MaxRatio    int64 `env:"LONGHAUL_MAX_RATIO" default:"200" help:"Most unpacked bytes for each packed byte of an archive."`
	MaxPath     int   `env:"LONGHAUL_MAX_PATH" default:"512" help:"Longest name of an entry in an archive, in bytes."`

	Demo      bool    `env:"LONGHAUL_DEMO" help:"Serve a simulated EPM Cloud environment too, and make the app vision on it."`
	DemoSpeed float64 `env:"LONGHAUL_DEMO_SPEED" default:"1" help:"How many seconds pass in the simulated environment in a real one."`
}

// validate reports everything that is wrong with the settings at once.
func (s *serveSettings) validate() error {
	var problems []error
	host, _, err := net.SplitHostPort(s.Addr)
	if err != nil {
		problems = append(problems, fmt.Errorf("LONGHAUL_ADDR %q: %w; write it like 127.0.0.1:8080", s.Addr, err))
	} else if s.local() && !s.AllowRemote && !loopback(host) {
		problems = append(problems, fmt.Errorf(
			"LONGHAUL_ADDR %q can be reached by others, and the only sign-in is the admin token; listen on 127.0.0.1, or say --allow-remote when something in front keeps strangers out", s.Addr))
	}
	for name, value := range map[string]int64{
		"LONGHAUL_WORKERS": int64(s.Workers), "LONGHAUL_MAX_BYTES": s.MaxBytes, "LONGHAUL_MAX_ENTRIES": int64(s.MaxEntries),
		"LONGHAUL_MAX_RATIO": s.MaxRatio, "LONGHAUL_MAX_PATH": int64(s.MaxPath), "LONGHAUL_KEEP_OUTPUTS": int64(s.KeepOutputs),
		"LONGHAUL_KEEP_UPLOADS": int64(s.KeepUploads), "LONGHAUL_KEEP_VERSIONS": int64(s.KeepVersions), "LONGHAUL_KEEP_CHANGES": int64(s.KeepChanges),
	} {
		if value <= 0 {
			problems = append(problems, fmt.Errorf("%s must be greater than 0", name))
		}
	}
	return errors.Join(append(problems, s.validateStorage(), s.validateKeys(), s.validateAccess(), s.validateEdges(), s.validateAudit())...)
}

// limits bound the archives that are taken in.
func (s *serveSettings) limits() archive.Limits {
	limits := archive.DefaultLimits()
	limits.Bytes, limits.Entries, limits.Ratio, limits.Path = s.MaxBytes, s.MaxEntries, s.MaxRatio, s.MaxPath
	return limits
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
