"""Makes an environment, lists all there are, and looks for one that is not there.

Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL.
"""

import antenv

with antenv.Client() as client:
    created = client.environments.create(name="quick start", config={"type": "self_hosted"})
    print("created:", created.id, created.name, created.config.type)

    for environment in client.environments.list():
        print("listed:", environment.id, environment.name)

    try:
        client.environments.retrieve("env_missing")
    except antenv.NotFoundError as error:
        print("not found:", error.error_code, error)
