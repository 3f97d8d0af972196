<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * The client, worker or lease is closed or was created before a fork, or the library is shutting down.
 */
class Closed extends AntenvException
{
}
