// Longhaul runs long jobs for people who work with Oracle Cloud applications: one process that
// serves an HTTP API and a page, works the tasks behind them, and keeps everything in Postgres.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set at build time by -ldflags "-X main.version=…".
var version = "dev"

// cli is the command line; the same settings can be given in the environment.
type cli struct {
	Serve     serveCmd     `cmd:"" default:"withargs" help:"Serve the API and the page, and work the tasks (the default)."`
	Sim       simCmd       `cmd:"" help:"Serve a simulated EPM Cloud environment, to test against."`
	Migrate   migrateCmd   `cmd:"" help:"Bring the database's schema up to date and end."`
	Health    healthCmd    `cmd:"" help:"Ask a serving process on this machine whether it is ready."`
	Doctor    doctorCmd    `cmd:"" help:"Check the settings, and all that they name, and say what is missing."`
	RotateKey rotateKeyCmd `cmd:"" name:"rotate-key" help:"Replace the key that stored credentials are encrypted with, while the server runs."`
	Audit     auditCmd     `cmd:"" help:"Verify or print the audit trail."`
	OpenAPI   openapiCmd   `cmd:"" name:"openapi" help:"Print the API's description (OpenAPI 3.1)."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, errDone) {
		fmt.Fprintln(os.Stderr, "longhaul:", err)
		os.Exit(1)
	}
}

// errDone ends a run that has printed what was asked for, as --help does.
var errDone = errors.New("done")

// run does what the command line says until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	defer func() {
		// The parser knows no other way to end after --help.
		if cause := recover(); cause != nil {
			if cause != errDone { //nolint:errorlint // the very value, not one like it
				panic(cause)
			}
			err = errDone
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("longhaul"),
		kong.Description("Runs long jobs for people who work with Oracle Cloud applications.\n\n"+
			"Every flag can be given in the environment too; a flag wins."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { panic(errDone) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}))
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w\nlonghaul --help lists the commands and flags", err)
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.BindTo(stdout, (*io.Writer)(nil))
	return command.Run(ctx, &streams{stdout, stderr})
}

// streams are where a command prints.
type streams struct{ out, err io.Writer }

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(s *streams) error {
	_, err := fmt.Fprintln(s.out, "longhaul", version)
	return err
}
