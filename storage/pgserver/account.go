package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the system user PostgreSQL runs as.
type account struct {
	name     string
	uid, gid int
	switched bool // another user than this process: we are root and it is not
}

// accountFor decides who runs PostgreSQL on the cluster in dataDir: this process's
// user; for root, who may not, the owner of the cluster when there is one, so
// that a folder begun by a user goes on being that user's.
func accountFor(dataDir string) (account, error) {
	if os.Geteuid() != 0 {
		return account{name: userName(os.Geteuid()), uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	info, err := os.Stat(dataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return serviceAccount("postgres", "nobody")
	case err != nil:
		return account{}, fmt.Errorf("find owner of database folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return account{}, fmt.Errorf("the database folder %s belongs to root, as whom PostgreSQL does not run; "+
			"after restoring it from a backup, give it back to its user: `chown -R postgres %s`", dataDir, dataDir)
	}
	uid := int(stat.Uid)
	return account{name: userName(uid), uid: uid, gid: int(stat.Gid), switched: true}, nil
}

// serviceAccount is the first of the named users that exists.
func serviceAccount(names ...string) (account, error) {
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue // the next one may exist
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return account{}, fmt.Errorf("user %s: id %q is not a number", name, u.Uid)
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return account{}, fmt.Errorf("user %s: group %q is not a number", name, u.Gid)
		}
		return account{name: name, uid: uid, gid: gid, switched: true}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and neither the user postgres nor nobody exists: " +
		"run longhaul as an ordinary user, or add a user postgres")
}

func userName(uid int) string {
	id := strconv.Itoa(uid)
	u, err := user.LookupId(id)
	if err != nil {
		return "number " + id // containers run as users without a name
	}
	return u.Username
}

// attributes makes a command run as the account, in a process group of its own:
// a Ctrl-C in the terminal must reach PostgreSQL through us, after the workers.
func (a account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.switched {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// own gives a file or folder to the account.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// checkReach makes sure the account can get into dir and run the server's
// program there. It tries rather than reads modes, which leave out ACLs.
func (a account) checkReach(ctx context.Context, dir, program string) error {
	if !a.switched {
		return nil
	}
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Dir = dir
	cmd.SysProcAttr = a.attributes()
	err := cmd.Run()
	if err == nil {
		return nil
	}
	for _, path := range []string{dir, filepath.Dir(program)} {
		if closed := a.closedParent(path); closed != "" {
			return fmt.Errorf("PostgreSQL does not run as root, and the user %s it runs as may not enter %s, which is on the way to %s: "+
				"choose another folder with LONGHAUL_DATA (/var/lib/longhaul, for example), or open this one with `chmod o+x %s`",
				a.name, closed, path, closed)
		}
	}
	return fmt.Errorf("run %s as user %s in %s: %w", program, a.name, dir, err)
}

// closedParent is the topmost folder on the way to path, path included, that
// the account may not enter by its mode; "" if there is none.
func (a account) closedParent(path string) string {
	closed := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !a.mayEnter(info) {
			closed = dir
		}
		if dir == filepath.Dir(dir) {
			return closed
		}
	}
}

func (a account) mayEnter(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	bit := fs.FileMode(0o001)
	switch {
	case int(stat.Uid) == a.uid:
		bit = 0o100
	case int(stat.Gid) == a.gid:
		bit = 0o010
	}
	return info.Mode().Perm()&bit != 0
}
