<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Exception\AntenvException;
use Antenv\Types\Model;

/** How a call that was submitted to a queue ended. */
final class Completion
{
    private readonly Hidden $text;

    /**
     * @internal
     *
     * @param mixed $tag What was given with the call.
     */
    public function __construct(
        public readonly mixed $tag,
        private readonly int $status,
        #[\SensitiveParameter]
        string $text,
        private readonly ?Response $response,
    ) {
        $this->text = new Hidden($text);
    }

    /** Returns the error of the call; null when it succeeded. */
    public function error(): ?AntenvException
    {
        return $this->status === Native::OK ? null : AntenvException::of($this->status, $this->text->value());
    }

    /**
     * Returns the result: as an object of a class, or what was decoded, objects as stdClass.
     *
     * @template T of Model
     *
     * @param class-string<T>|null $class Such as `Antenv\Types\Environment::class`.
     *
     * @return ($class is null ? mixed : T)
     *
     * @throws AntenvException The call failed.
     */
    public function result(?string $class = null): mixed
    {
        $error = $this->error();
        if ($error !== null) {
            throw $error;
        }
        $result = Json::decode($this->text->value());
        $result = $this->response === null ? $result : $this->response->read($result);
        return $class === null ? $result : $class::of($result);
    }
}
