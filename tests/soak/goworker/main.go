// Goworker serves sessions, for the soak: goworker ROOT CONCURRENCY. It has the toolset and the tools of tests/soak/serving.py.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"antenv.internal/antenv"
)

// note writes down that a tool runs, and returns the identifier of its call.
func note(ctx context.Context) (string, error) {
	id := antenv.CallEvent(ctx).ID
	runs, err := os.OpenFile(os.Getenv("SOAK_RUNS"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	_, err = runs.WriteString(id + "\n")
	return id, errors.Join(err, runs.Close())
}

func who(ctx context.Context, _ struct{}) (string, error) { return note(ctx) }

func slow(ctx context.Context, _ struct{}) (string, error) {
	if _, err := note(ctx); err != nil {
		return "", err
	}
	<-ctx.Done()
	return "too late", nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	concurrency, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	client, err := antenv.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	worker, err := client.NewWorker(antenv.WorkerConfig{Concurrency: concurrency})
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Close()
	tools := antenv.Tools{
		antenv.Tool("who", "Returns the identifier of its call.", who),
		antenv.Tool("slow", "Goes on until its call is void.", slow),
	}
	err = worker.Run(ctx, func(ctx context.Context, lease *antenv.Lease) error {
		workdir, err := os.MkdirTemp(os.Args[1], "item-")
		if err != nil {
			return err
		}
		_, err = lease.Serve(ctx, tools, antenv.WithToolset(true), antenv.WithWorkdir(workdir), antenv.WithMaxIdle(time.Second),
			antenv.WithConcurrency(3))
		return errors.Join(err, os.RemoveAll(workdir))
	})
	if err != nil {
		log.Fatal(err)
	}
}
