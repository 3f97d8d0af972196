//go:build unix

// Onwork serves the work queue of a self-hosted environment: it runs a command for each item, and stops the item when the command has ended.
//
//	onwork [-concurrency N] [-grace DURATION] [-metrics ADDRESS] command [argument...]
//
// ANTHROPIC_ENVIRONMENT_ID and ANTHROPIC_ENVIRONMENT_KEY select the queue. The command receives the item's JSON on standard input, and in
// its environment ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_SESSION_ID, ANTHROPIC_ENVIRONMENT_KEY and, if the item has one,
// ANTHROPIC_WORK_SECRET. When the item is to be stopped or its lease is lost, the command's process group receives SIGTERM, and SIGKILL
// after the grace period. While the system has no resources for another process, onwork retries to start it every second. After SIGTERM or
// SIGINT onwork claims no more items; commands go on until they are done or the grace period is over.
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
	"strings"
	"syscall"
	"time"

	"antenv"
)

func main() {
	concurrency := flag.Int("concurrency", 1, "how many commands run at once")
	grace := flag.Duration("grace", 30*time.Second, "how long commands may go on when they or onwork are to stop")
	metrics := flag.String("metrics", "", "address at which to serve /metrics for Prometheus")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: onwork [options] command [argument...]")
		flag.PrintDefaults()
		os.Exit(2)
	}
	if err := antenv.SetLogger(slog.Default()); err != nil { // which receives the errors of items, too
		log.Fatal(err)
	}
	client, err := antenv.NewClient(antenv.WithEnvironmentKey(os.Getenv("ANTHROPIC_ENVIRONMENT_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	worker, err := client.NewWorker(antenv.WorkerConfig{
		Concurrency: *concurrency,
		Grace:       antenv.Set(*grace),
	})
	if err != nil {
		log.Fatal(err)
	}
	if *metrics != "" {
		serveMetrics(worker, *metrics)
	}
	ctx, giveUp := context.WithCancelCause(context.Background())
	stopping, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = worker.Run(stopping, func(ctx context.Context, lease *antenv.Lease) error {
		return serve(ctx, stopping, lease, *grace, giveUp)
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// start starts the command for an item. If that fails, it abandons the item.
func start(ctx, stopping context.Context, lease *antenv.Lease, prepare func() *exec.Cmd, giveUp func(error)) (*exec.Cmd, error) {
	for {
		command := prepare()
		err := command.Start()
		if err == nil {
			return command, nil
		}
		if !isNoRoom(err) {
			lease.Abandon()
			if ctx.Err() == nil { // the command of the next item would fail, too
				giveUp(err)
			}
			return nil, err
		}
		log.Print(lease.Work.ID, ": not begun yet: ", err)
		select {
		case <-time.After(time.Second):
			continue
		case <-stopping.Done():
		case <-ctx.Done():
		}
		lease.Abandon()
		return nil, err
	}
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
func serve(ctx, stopping context.Context, lease *antenv.Lease, grace time.Duration, giveUp func(error)) error {
	item := lease.Work
	var kill *time.Timer
	command, err := start(ctx, stopping, lease, func() *exec.Cmd {
		command := exec.CommandContext(ctx, flag.Arg(0), flag.Args()[1:]...)
		command.Stdin, command.Stdout, command.Stderr = strings.NewReader(item.RawJSON()), os.Stdout, os.Stderr
		command.Env = append(os.Environ(), "ANTHROPIC_WORK_ID="+item.ID, "ANTHROPIC_ENVIRONMENT_ID="+item.EnvironmentID,
			"ANTHROPIC_SESSION_ID="+item.Data.ID)
		if item.Secret != "" {
			command.Env = append(command.Env, "ANTHROPIC_WORK_SECRET="+string(item.Secret))
		}
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a process group, so that its children are stopped as well
		command.Cancel = func() error {
			kill = time.AfterFunc(grace, func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
			return syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
		}
		return command
	}, giveUp)
	if err != nil {
		return err
	}
	log.Print(item.ID, ": begun")
	err = command.Wait()
	if kill != nil && kill.Stop() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // its children that are left
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %v", context.Cause(ctx), err)
	}
	log.Print(item.ID, ": ended")
	return err
}

func serveMetrics(worker *antenv.Worker, address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
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
