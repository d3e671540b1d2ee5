// Asks Testcontainers for Go for services, as a test of somebody's would.
//
// usage: application NAME...   redis, postgres; belongings: Redis with a network and a volume of this session
// Says in one line of JSON what it stored in them and read back. Ends, and all with it, when its standard input does.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	_ "github.com/lib/pq"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	dockernetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	goredis "github.com/redis/go-redis/v9"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
	"github.com/testcontainers/testcontainers-go/modules/redis"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// Of a hang, not of slowness: an emulated host needs more than the modules give.
const patience = 3 * time.Minute

type application struct {
	said  map[string]any
	leave []func() error // in the reverse order
}

func (a *application) later(what func() error) { a.leave = append(a.leave, what) }

func (a *application) end() error {
	var failures []error
	for _, what := range slices.Backward(a.leave) {
		failures = append(failures, what())
	}
	return errors.Join(failures...)
}

// A Redis, with what is stored in it read back.
func (a *application) redis(ctx context.Context, options ...testcontainers.ContainerCustomizer) (string, error) {
	options = append(options, testcontainers.WithWaitStrategyAndDeadline(patience,
		wait.ForListeningPort("6379/tcp").WithStartupTimeout(patience), wait.ForLog("* Ready to accept connections")))
	server, err := redis.Run(ctx, "redis:7", options...)
	a.later(func() error { return testcontainers.TerminateContainer(server) })
	if err != nil {
		return "", err
	}
	url, err := server.ConnectionString(ctx)
	if err != nil {
		return "", err
	}
	where, err := goredis.ParseURL(url)
	if err != nil {
		return "", err
	}
	connection := goredis.NewClient(where)
	defer connection.Close()
	if err := connection.Set(ctx, "greeting", "kept in Redis", 0).Err(); err != nil {
		return "", err
	}
	return connection.Get(ctx, "greeting").Result()
}

// A Redis that uses what the session has.
func (a *application) belongings(ctx context.Context) (string, error) {
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return "", err
	}
	a.later(docker.Close)
	name := "belonging-" + testcontainers.SessionID()
	if _, err := docker.VolumeCreate(ctx, client.VolumeCreateOptions{Name: name, Labels: testcontainers.GenericLabels()}); err != nil {
		return "", err
	}
	a.later(func() error {
		_, err := docker.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		return err
	})
	joined, err := network.New(ctx)
	if err != nil {
		return "", err
	}
	a.later(func() error { return joined.Remove(ctx) })
	return a.redis(ctx, network.WithNetwork([]string{"cache"}, joined),
		testcontainers.WithHostConfigModifier(func(settings *container.HostConfig) {
			settings.Mounts = append(settings.Mounts, mount.Mount{Type: mount.TypeVolume, Source: name, Target: "/kept"})
		}))
}

// A PostgreSQL, with what is stored in it read back. In memory: making a database on a disk takes long where the host is emulated.
func (a *application) postgres(ctx context.Context) (string, error) {
	url := func(host string, port dockernetwork.Port) string {
		return fmt.Sprintf("postgres://somebody:secret@%s:%s/things?sslmode=disable", host, port.Port())
	}
	server, err := postgres.Run(ctx, "postgres:15", postgres.WithUsername("somebody"), postgres.WithPassword("secret"),
		postgres.WithDatabase("things"), testcontainers.WithTmpfs(map[string]string{"/scratch": ""}),
		testcontainers.WithEnv(map[string]string{"PGDATA": "/scratch/data", "POSTGRES_INITDB_ARGS": "--no-sync"}),
		testcontainers.WithWaitStrategyAndDeadline(patience,
			wait.ForSQL("5432/tcp", "postgres", url).WithStartupTimeout(patience).WithPollInterval(time.Second)))
	a.later(func() error { return testcontainers.TerminateContainer(server) })
	if err != nil {
		return "", err
	}
	address, err := server.ConnectionString(ctx, "sslmode=disable")
	if err != nil {
		return "", err
	}
	database, err := sql.Open("postgres", address)
	if err != nil {
		return "", err
	}
	defer database.Close()
	if _, err := database.Exec("CREATE TABLE greetings (words text)"); err != nil {
		return "", err
	}
	if _, err := database.Exec("INSERT INTO greetings VALUES ($1)", "kept in PostgreSQL"); err != nil {
		return "", err
	}
	var words string
	err = database.QueryRow("SELECT words FROM greetings").Scan(&words)
	return words, err
}

func (a *application) run(ctx context.Context, names []string) error {
	services := map[string]func(context.Context) (string, error){
		"redis":      func(ctx context.Context) (string, error) { return a.redis(ctx) },
		"belongings": a.belongings,
		"postgres":   a.postgres,
	}
	for _, name := range names {
		words, err := services[name](ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		a.said[name] = words
	}
	if err := json.NewEncoder(os.Stdout).Encode(a.said); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func main() {
	a := &application{said: map[string]any{"session": testcontainers.SessionID(), "pid": os.Getpid()}}
	err := a.run(context.Background(), os.Args[1:])
	if err := errors.Join(err, a.end()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
