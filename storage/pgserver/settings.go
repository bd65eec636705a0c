package pgserver

import (
	"context"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// userAndDatabase names both the superuser initdb makes and the database.
	userAndDatabase = "longhaul"
	// socketPort is in the socket's file name only; the folder is ours.
	socketPort = 5432
	// longestSocket is what fits sun_path: 104 bytes on macOS and 108 on Linux,
	// the closing zero included.
	longestSocket = 103
)

// address is where a server listens: on a Unix socket in socketDir, or, when
// that is empty, on the loopback interface.
type address struct {
	socketDir string
	port      int
}

// socketFile is PostgreSQL's name for its socket in a folder.
func socketFile(dir string) string { return filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(socketPort)) }

// newAddress prefers the socket: it needs no free port, only this user can
// reach it, and it is faster. A path too long for one, or with a comma, which
// separates hosts in connection strings, leaves the loopback interface.
func newAddress(ctx context.Context, socketDir string) (address, error) {
	file := socketFile(socketDir)
	if len(file) <= longestSocket && !strings.Contains(socketDir, ",") {
		return address{socketDir: socketDir, port: socketPort}, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return address{}, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return address{port: port}, listener.Close()
}

// url is the connection string for a database, for libpq and pgx alike.
func (a address) url(password, database string) string {
	query := url.Values{"sslmode": {"disable"}}
	u := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(userAndDatabase, password),
		Host:   net.JoinHostPort("127.0.0.1", strconv.Itoa(a.port)),
		Path:   "/" + database,
	}
	if a.socketDir != "" {
		u.Host = ""
		query.Set("host", a.socketDir)
		query.Set("port", strconv.Itoa(a.port))
	}
	// pgx, like libpq, takes a plus sign for itself, not for a space.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

// setting is one configuration parameter given on the command line, where it
// overrides what is in the cluster's files.
type setting struct{ name, value string }

// baseSettings suit a small machine that also runs the program itself.
var baseSettings = []setting{
	{"cluster_name", "longhaul"},             // seen in the process list
	{"max_connections", "100"},               // one process's pools, psql and a backup beside it
	{"shared_buffers", "128MB"},              // task rows are small; the rest of memory is for files and the program
	{"wal_compression", "on"},                // less to write and sync after each checkpoint, for little CPU
	{"checkpoint_timeout", "15min"},          // fewer whole pages in the log; recovery stays short with 1 GB of it
	{"random_page_cost", "1.1"},              // solid-state disks
	{"jit", "off"},                           // no query is long enough to earn its compilation
	{"max_parallel_workers_per_gather", "0"}, // short queries; and /dev/shm is 64 MB in a container
	{"autovacuum_naptime", "15s"},            // the queue's table turns over fast, and dead rows slow it down
	{"log_checkpoints", "off"},               // one line per checkpoint for ever would grow the log without bound
	{"log_min_messages", "log"},              // a statement's error goes to the caller, who logs it; here it would show data
	{"log_min_error_statement", "panic"},     // likewise
	{"log_line_prefix", "%m [%p] "},          // time and process
	{"log_timezone", "UTC"},                  // as in our own log
	{"timezone", "UTC"},                      // so that no answer depends on the machine
	{"log_destination", "stderr"},            // into the file we give it, where a failed start is read from
	{"logging_collector", "off"},             // likewise
}

// durableSettings are PostgreSQL's defaults, stated so that no edited file can
// take an acknowledged commit away.
var durableSettings = []setting{{"fsync", "on"}, {"synchronous_commit", "on"}, {"full_page_writes", "on"}}

// fastSettings lose data with the power, or before that. Tests only.
var fastSettings = []setting{
	{"fsync", "off"},
	{"synchronous_commit", "off"},
	{"full_page_writes", "off"},
	{"max_connections", "300"}, // many tests at once, each with a pool
	{"max_wal_size", "128MB"},  // the cluster may lie in memory
}

// arguments are the server's command line.
func arguments(dataDir string, addr address, fast bool) []string {
	listen, sockets := "127.0.0.1", ""
	if addr.socketDir != "" {
		// A list: the quotes keep a space in the path from being a separator.
		listen, sockets = "", `"`+strings.ReplaceAll(addr.socketDir, `"`, `""`)+`"`
	}
	all := append([]setting{
		{"listen_addresses", listen},
		{"unix_socket_directories", sockets},
		{"unix_socket_permissions", "0700"},
		{"port", strconv.Itoa(addr.port)},
	}, baseSettings...)
	if fast {
		all = append(all, fastSettings...)
	} else {
		all = append(all, durableSettings...)
	}
	args := []string{"-D", dataDir}
	for _, s := range all {
		args = append(args, "-c", s.name+"="+s.value)
	}
	return args
}

// cleanEnvironment leaves out everything of ours: PG… variables would change
// the server, and secrets have no business in its environment.
func cleanEnvironment(cmd *exec.Cmd) {
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"}
}
