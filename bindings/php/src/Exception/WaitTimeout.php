<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * Nothing came within the `timeoutMs` of a wait. What was waited for goes on: wait again.
 */
final class WaitTimeout extends \RuntimeException
{
}
