// Package antenv is the Environments API for Go: create, list, update, archive and delete environments, and serve the work queue of
// a self-hosted one.
//
//	client, err := antenv.NewClient(antenv.WithAPIKey(key))
//	environment, err := client.Environments.Create(ctx, antenv.EnvironmentCreateParams{Name: "tests"})
//	for environment, err := range client.Environments.List(ctx, antenv.EnvironmentListParams{}) { ... }
//
// Client.NewWorker makes a worker, which claims items from such a queue, keeps their leases and has them served:
//
//	worker, err := client.NewWorker(antenv.WorkerConfig{Concurrency: 4})
//	err = worker.Run(ctx, func(ctx context.Context, lease *antenv.Lease) error { return serve(ctx, lease.Work) })
//
// It is a thin layer over the native library libantenv, which does the HTTP, the retries and the deadlines. The library is found with
// pkg-config; with the build tag antenv_static the program has it inside.
//
// A call that waits takes a goroutine and no thread: its completion comes to a queue that one goroutine drains. When its context is
// done, the call is cancelled at once. Clients may be used by any number of goroutines. Errors of the library are *Error values.
package antenv
