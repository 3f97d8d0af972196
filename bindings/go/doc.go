// Package antenv is a client of the Environments API: it creates and manages environments, and serves the work queue of a self-hosted one.
//
//	client, err := antenv.NewClient(antenv.WithAPIKey(key))
//	environment, err := client.Environments.Create(ctx, antenv.EnvironmentCreateParams{Name: "tests"})
//	for environment, err := range client.Environments.List(ctx, antenv.EnvironmentListParams{}) { ... }
//
// Client.NewWorker makes a worker, which claims items from such a queue, holds their leases and serves them with a handler:
//
//	worker, err := client.NewWorker(antenv.WorkerConfig{Concurrency: 4}) // four at a time
//	err = worker.Run(ctx, func(ctx context.Context, lease *antenv.Lease) error { return serve(ctx, lease.Work) })
//
// Lease.Serve serves the session of an item with tools, which are typed functions:
//
//	weather := antenv.Tool("weather", "Returns the weather.", func(ctx context.Context, in Place) (string, error) { ... })
//	err = worker.Run(ctx, antenv.Tools{weather}.Handler())
//
// The package is a thin layer over the native library libantenv, which does HTTP, retries and deadlines. Builds find the library with
// pkg-config; the build tag antenv_static links it into the program.
//
// A call that waits takes a goroutine and no thread: its completion arrives at a queue that one goroutine drains. When the call's context is
// done, the call is cancelled at once. Any number of goroutines may use a client. The library's errors are *Error values.
package antenv
