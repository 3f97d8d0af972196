package main

import (
	"context"
	"strconv"

	"antenv.internal/antenv"
)

// sessions serves sessions whose agents call a tool that returns at once, as session.c next to it, until it is killed.
func sessions(url, count string) {
	concurrency, err := strconv.Atoi(count)
	check(err)
	client, err := antenv.NewClient(antenv.WithEnvironmentKey("a-key"), antenv.WithBaseURL(url))
	check(err)
	worker, err := client.NewWorker(antenv.WorkerConfig{EnvironmentID: "env_bench", Concurrency: concurrency})
	check(err)
	noop := func(context.Context, struct{}) (string, error) { return "done", nil }
	tools := antenv.Tools{antenv.Tool("noop", "Returns at once.", noop)}
	check(worker.Run(context.Background(), tools.Handler()))
}
