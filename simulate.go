package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"longhaul/jobs"
	"longhaul/oracle/sim"
	"longhaul/storage"
)

type simCmd struct {
	Addr        string   `env:"LONGHAUL_SIM_ADDR" default:"127.0.0.1:8090" help:"Listen address; loopback only. Port 0 picks one and prints it."`
	Speed       float64  `env:"LONGHAUL_SIM_SPEED" default:"1" help:"How many simulated seconds pass in a real one."`
	Prefix      string   `env:"LONGHAUL_SIM_PREFIX" help:"A path in front of every address, as a gateway adds."`
	Seed        uint64   `env:"LONGHAUL_SIM_SEED" default:"1" help:"Decides which answers carry which oddity."`
	Tidy        bool     `env:"LONGHAUL_SIM_TIDY" help:"No oddities: every answer as the documentation wishes."`
	Environment string   `env:"LONGHAUL_SIM_ENVIRONMENT" placeholder:"FILE" help:"A JSON file with applications, in place of the built-in ones."`
	Fault       []string `env:"LONGHAUL_SIM_FAULT" sep:"none" placeholder:"JSON" help:"A fault from the start, as JSON; may be given more than once. The simulator's README lists them."`
	LogLevel    string   `env:"LONGHAUL_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
}

// Run serves the simulator until ctx ends.
func (c *simCmd) Run(ctx context.Context, s *streams) error {
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil || !loopback(host) {
		return fmt.Errorf("LONGHAUL_SIM_ADDR %q: the simulator's control calls need no sign-in, so it listens on loopback only; write it like 127.0.0.1:8090", c.Addr)
	}
	config := sim.Config{
		Speed: c.Speed, Prefix: c.Prefix, Seed: c.Seed, NoOddities: c.Tidy, Environment: c.Environment,
		Logger: (&dataSettings{LogLevel: c.LogLevel}).logger(s.err),
	}
	for _, text := range c.Fault {
		fault, err := sim.ParseFault(text)
		if err != nil {
			return fmt.Errorf("LONGHAUL_SIM_FAULT: %w", err)
		}
		config.Faults = append(config.Faults, fault)
	}
	address, stop, err := startSim(ctx, c.Addr, config)
	if err != nil {
		return err
	}
	defer stop()
	if _, err := fmt.Fprintf(s.out, "Simulated EPM Cloud at %s%s (user admin, password welcome1, applications Vision and Sales)\n", address, c.Prefix); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// startSim serves a simulator and returns its address.
func startSim(ctx context.Context, addr string, config sim.Config) (address string, stop func(), err error) {
	environment, err := sim.New(config)
	if err != nil {
		return "", nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("listen: %w", err), environment.Close())
	}
	server := &http.Server{Handler: environment, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // it ends when stop closes it
	return "http://" + listener.Addr().String(), func() {
		_ = server.Close()
		_ = environment.Close()
	}, nil
}

// startDemo serves the simulated environment and makes, or mends, the app vision on it.
func startDemo(ctx context.Context, engine *jobs.Engine, speed float64, logger *slog.Logger) (stop func(), err error) {
	config := sim.Config{Speed: speed}
	if logger.Enabled(ctx, slog.LevelDebug) {
		config.Logger = logger.With("part", "sim") // a line for each request would bury ours
	}
	address, stop, err := startSim(ctx, "127.0.0.1:0", config)
	if err != nil {
		return nil, err
	}
	set := jobs.AppSettings{
		Product: "epm", URL: address, Application: "Vision", MaxRunning: 4,
		Auth: &jobs.Credentials{Type: "basic", Username: "admin", Password: "welcome1"},
	}
	by := jobs.Caller{Name: "demo", Reach: storage.Everywhere}
	_, err = engine.CreateApp(ctx, "vision", set, by)
	if errors.Is(err, storage.ErrConflict) {
		_, err = engine.ReplaceApp(ctx, "vision", set, by)
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("demo: %w", err)
	}
	logger.InfoContext(ctx, "demo: the app vision runs on a simulated environment", "url", address)
	return stop, nil
}
