// Quickstart creates an environment, lists all environments, and retrieves one that does not exist.
// It reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"antenv.internal/antenv"
)

func main() {
	client, err := antenv.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()

	created, err := client.Environments.Create(ctx, antenv.EnvironmentCreateParams{
		Name:   "quick start",
		Config: antenv.Set(antenv.ConfigParams{Type: antenv.ConfigSelfHosted}),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("created:", created.ID, created.Name, created.Config.Type)

	for environment, err := range client.Environments.List(ctx, antenv.EnvironmentListParams{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("listed:", environment.ID, environment.Name)
	}

	_, err = client.Environments.Retrieve(ctx, "env_missing")
	var failure *antenv.Error
	if errors.As(err, &failure) && errors.Is(err, antenv.ErrNotFound) {
		fmt.Println("not found:", failure.ErrorCode, failure.Message)
	}
}
