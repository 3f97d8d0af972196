<?php

declare(strict_types=1);

namespace Antenv;

/**
 * What a signal handler may throw to end `$lease->serve()` and `$worker->run()` also while a tool or a handler runs.
 *
 *     final class Interrupted extends \RuntimeException implements Antenv\Interrupt {}
 *
 * Any other exception that comes out of a tool is taken for its failure.
 */
interface Interrupt extends \Throwable
{
}
