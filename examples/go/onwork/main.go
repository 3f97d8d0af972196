//go:build unix

// Onwork serves the work queue of a self-hosted environment: it runs a command for each item, and stops the item when the command has ended.
//
//	onwork [--concurrency N] [--grace SECONDS] [--metrics ADDRESS] [--handoff] command [argument...]
//
// ANTHROPIC_ENVIRONMENT_ID and ANTHROPIC_ENVIRONMENT_KEY select the queue. The command receives the item's JSON on standard input, and in
// its environment ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_SESSION_ID, ANTHROPIC_ENVIRONMENT_KEY and, if the item has one,
// ANTHROPIC_WORK_SECRET. It runs in a process group of its own; what is left of the group when the command has ended is killed.
//
// With --handoff the command keeps the lease itself: it adopts the item, as Client.Adopt and an official handle_item do with these variables,
// sends the heartbeats, and stops the item. It has to begin within a minute. Onwork only claims items, and when a command has ended without a
// heartbeat, gives its item back to the queue.
//
// A command that cannot be found at the start is wrong usage. While the system has no resources for another process, onwork retries to start
// it every second. If it cannot be started for another reason, onwork leaves the item to the queue, claims no more, waits for its other
// commands and exits with 1.
//
// When a lease is lost or an item is to be stopped, the command receives SIGTERM, and SIGKILL when SECONDS (30; up to 86400, such as 0.5 or
// 30s) have passed. On SIGTERM or SIGINT onwork claims no more and waits for the commands; those that still run after SECONDS receive
// SIGTERM, and SIGKILL after as long again. A second SIGTERM or SIGINT ends the first of these waits.
//
// ADDRESS, such as :9464 or 127.0.0.1:9464, is where /metrics is served for Prometheus. As a container's first process, onwork also reaps
// orphans.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"antenv"
)

// program is what all items share.
type program struct {
	path      string        // of the command's file
	arguments []string      // the command's, its name first
	handoff   bool          // whether commands keep the leases of their items
	grace     time.Duration // how long a command has between SIGTERM and SIGKILL
	commands  commands
	stopping  context.Context         // done when no more items are claimed
	stop      context.CancelCauseFunc // with a cause if onwork gives up
	hurry     context.Context         // done when the commands are to end
}

func main() {
	concurrency, grace := 1, 30*time.Second
	flag.Func("concurrency", "how many commands run at once, `N` (1)", func(text string) (err error) {
		if concurrency, err = strconv.Atoi(text); err == nil && (concurrency < 1 || concurrency > 10_000) {
			err = errors.New("not from 1 to 10000")
		}
		return err
	})
	flag.Func("grace", "how many `SECONDS` commands have to end, and onwork before it ends them (30)", func(text string) error {
		seconds, err := strconv.ParseFloat(strings.TrimSuffix(text, "s"), 64)
		if err == nil && !(seconds >= 0 && seconds <= 86_400) {
			err = errors.New("not from 0 to 86400")
		}
		grace = time.Duration(seconds * float64(time.Second))
		return err
	})
	metrics := flag.String("metrics", "", "`ADDRESS` at which to serve /metrics for Prometheus, such as :9464")
	handoff := flag.Bool("handoff", false, "leave the heartbeats to the commands")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: onwork [options] command [argument...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	path, err := exec.LookPath(flag.Arg(0))
	if err != nil {
		fmt.Fprintf(os.Stderr, "onwork: %s: no such command\n", flag.Arg(0))
		os.Exit(2)
	}
	var listener net.Listener
	if *metrics != "" {
		if listener, err = net.Listen("tcp", *metrics); err != nil {
			log.Fatal(*metrics, ": ", err)
		}
	}
	if err := antenv.SetLogger(slog.Default()); err != nil { // which receives the errors of items, too
		log.Fatal(err)
	}
	client, err := antenv.NewClient(antenv.WithEnvironmentKey(os.Getenv("ANTHROPIC_ENVIRONMENT_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	worker, err := client.NewWorker(antenv.WorkerConfig{Concurrency: concurrency, Grace: antenv.Set(grace), Heartbeat: antenv.Set(!*handoff)})
	if err != nil {
		log.Fatal(err)
	}
	if listener != nil {
		serveMetrics(worker, listener)
	}
	p := program{path: path, arguments: flag.Args(), handoff: *handoff, grace: grace, commands: commands{ended: map[int]chan syscall.WaitStatus{}}}
	p.stopping, p.stop = context.WithCancelCause(context.Background())
	p.watchSignals()
	err = worker.Run(p.stopping, p.serve)
	if cause := context.Cause(p.stopping); err == nil && cause != context.Canceled {
		err = cause
	}
	if err != nil {
		log.Fatal(err)
	}
}

// watchSignals reaps processes on SIGCHLD. On SIGTERM or SIGINT it stops the worker; the second time, it ends the commands.
func (p *program) watchSignals() {
	var end context.CancelFunc
	p.hurry, end = context.WithCancel(context.Background())
	children, requests := make(chan os.Signal, 1), make(chan os.Signal, 2)
	signal.Notify(children, syscall.SIGCHLD)
	signal.Notify(requests, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for range children {
			p.commands.reap()
		}
	}()
	go func() {
		for range requests {
			if p.stopping.Err() != nil {
				end()
			}
			p.stop(nil)
		}
	}()
}

// start starts the command for an item. If that fails, it abandons the item.
func (p *program) start(ctx context.Context, lease *antenv.Lease) (pid int, input *os.File, ended <-chan syscall.WaitStatus, err error) {
	for cause := context.Cause(p.stopping); cause == nil || cause == context.Canceled; { // otherwise onwork has given up
		pid, input, ended, err = p.commands.start(p.path, p.arguments, variables(lease.Work))
		if err == nil {
			return pid, input, ended, nil
		}
		err = fmt.Errorf("%s: %w", p.arguments[0], err)
		if !isNoRoom(err) {
			p.stop(err) // the command of the next item would fail, too
			break
		}
		if p.stopping.Err() != nil || ctx.Err() != nil {
			break
		}
		log.Print(lease.Work.ID, ": not begun yet: ", err)
		select {
		case <-time.After(time.Second):
		case <-p.stopping.Done():
		case <-ctx.Done():
		}
	}
	lease.Abandon()
	return 0, nil, nil, err
}

// isNoRoom reports whether an error means that the system has no resources for a process at the moment.
func isNoRoom(err error) bool {
	for _, passing := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// serve runs the command for an item.
func (p *program) serve(ctx context.Context, lease *antenv.Lease) error {
	item := lease.Work
	pid, input, ended, err := p.start(ctx, lease)
	if pid == 0 {
		return err
	}
	log.Print(item.ID, ": begun")
	go func() {
		_, _ = input.WriteString(item.RawJSON()) // the command need not read it
		_ = input.Close()
	}()
	defer input.Close()
	if p.handoff { // the lease is the command's business
		ctx = context.Background()
		defer lease.Abandon() // an item that has had no heartbeat is given back
	}
	var status syscall.WaitStatus
	select {
	case status = <-ended:
	case <-ctx.Done():
		status = p.end(item.ID, pid, ended)
		return fmt.Errorf("%w: %v", context.Cause(ctx), failure(status))
	case <-p.hurry.Done():
		status = p.end(item.ID, pid, ended)
	}
	log.Print(item.ID, ": ended")
	return failure(status)
}

// end ends a command that runs: it asks it, and kills it when the grace period is over.
func (p *program) end(item string, pid int, ended <-chan syscall.WaitStatus) syscall.WaitStatus {
	log.Print(item, ": the command is ended")
	p.commands.signal(pid, syscall.SIGTERM)
	select {
	case status := <-ended:
		return status
	case <-time.After(p.grace):
		log.Print(item, ": is killed")
		p.commands.signal(pid, syscall.SIGKILL)
		return <-ended
	}
}

// failure returns the error of a command that did not exit with 0.
func failure(status syscall.WaitStatus) error {
	switch {
	case status.Signaled():
		return fmt.Errorf("signal: %v", status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return nil
}

// variables returns the environment of an item's command.
func variables(item *antenv.Work) []string {
	own := []string{"ANTHROPIC_WORK_ID=" + item.ID, "ANTHROPIC_ENVIRONMENT_ID=" + item.EnvironmentID, "ANTHROPIC_SESSION_ID=" + item.Data.ID}
	if item.Secret != "" {
		own = append(own, "ANTHROPIC_WORK_SECRET="+string(item.Secret))
	}
	for _, variable := range os.Environ() {
		switch name, _, _ := strings.Cut(variable, "="); name {
		case "ANTHROPIC_WORK_ID", "ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_SESSION_ID", "ANTHROPIC_WORK_SECRET",
			"ANTHROPIC_WORK_LAST_HEARTBEAT": // of another item: this one has had none
		default:
			own = append(own, variable)
		}
	}
	return own
}

func serveMetrics(worker *antenv.Worker, listener net.Listener) {
	log.Print("metrics at http://", listener.Addr(), "/metrics")
	http.HandleFunc("/metrics", func(to http.ResponseWriter, _ *http.Request) {
		text, err := worker.Metrics()
		if err != nil {
			http.Error(to, err.Error(), http.StatusInternalServerError)
			return
		}
		to.Header().Set("content-type", "text/plain; version=0.0.4")
		fmt.Fprint(to, text)
	})
	go func() { log.Fatal(http.Serve(listener, nil)) }()
}
